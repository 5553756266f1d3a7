// Every step of a dissection: its verdicts, what it is in two sentences, charts and numbers.

const FEW_ROWS = 8;

// Numbers as they are: few rows at once, many in pages.
function numbersTable(packed, name) {
  const table = new Table(packed);
  if (table.length > FEW_ROWS) {
    const rows = new RowTable(
      new Selection(table, null),
      name,
      table.columns.map((c) => c.name),
    );
    return fold(`All ${count(table.length, "row")} of numbers`, rows.node());
  }
  return el(
    "div",
    { class: "scroll" },
    el(
      "table",
      { class: "numbers" },
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          table.columns.map((c) =>
            el("th", { scope: "col", class: c.numeric ? "numeric" : null }, quoted(words(c.name))),
          ),
        ),
      ),
      el(
        "tbody",
        {},
        Array.from({ length: table.length }, (_, i) =>
          el(
            "tr",
            {},
            table.columns.map((c) =>
              c.numeric
                ? el("td", { class: "numeric" }, number(c.numbers[i]))
                : c.kind === "truth"
                  ? cell(c, i)
                  : el("td", {}, quoted(c.text(i))),
            ),
          ),
        ),
      ),
    ),
  );
}

const claimsOf = (record, id) =>
  record.claims.filter((c) => typeof c.id === "string" && (c.id === id || c.id.startsWith(`${id}.`)));

function step(record, own, number) {
  const table = new Table(own.table);
  const judged = claimsOf(record, own.id);
  return el(
    "article",
    { class: "step", id: `step-${number}` },
    el("h3", {}, quoted(own.id), " · ", quoted(own.title)),
    el("p", { class: "step-text", dir: "auto" }, String(own.text)),
    judged.map((c) =>
      el(
        "div",
        { class: "claim-line" },
        badge(c.verdict),
        el("p", { dir: "auto" }, c.text, c.reason ? el("span", { class: "faint" }, " ", quoted(c.reason)) : null),
      ),
    ),
    own.charts.map((chart) =>
      el(
        "div",
        { class: "shown" },
        shown(() => chartOf(table, chart, own.title)),
      ),
    ),
    numbersTable(own.table, `${own.id}`),
  );
}

function steps(run) {
  const { sections } = run.dissection;
  if (!sections.length) return null;
  const verdicts = (own) => distinct(claimsOf(run.record, own.id).map((c) => String(c.verdict)));
  const contents = el(
    "ol",
    { class: "contents" },
    sections.map((own, i) =>
      el(
        "li",
        {},
        el(
          "button",
          { type: "button", class: "quiet", onclick: () => document.getElementById(`step-${i}`).scrollIntoView() },
          quoted(own.id),
          " · ",
          quoted(own.title),
        ),
        " ",
        verdicts(own).map((verdict) => badge(verdict)),
      ),
    ),
  );
  return section(
    "Step by step",
    "Each step is one experiment; its verdict follows a rule that was fixed before the run.",
    contents,
    sections.map((own, i) => shown(() => step(run.record, own, i))),
  );
}
