// Every relation in every split: bars or dots with intervals, and the paired test of the two directions.

// One scale for all rows: shares from 0 to 1, other units over what was measured.
function scaleOf(items, measure) {
  if (measure.kind === "bar") return { from: 0, to: 1 };
  const values = items
    .filter((s) => s[measure.key])
    .flatMap((s) => [s[measure.key].low, s[measure.key].high, s[measure.key].mean])
    .filter((x) => x !== null);
  return { from: Math.min(...values), to: Math.max(...values, 0) };
}

function estimateCell(found, measure, scale, direction) {
  const e = found && found[measure.key];
  if (!e) return el("td", { class: "figure-cell none" }, found ? "–" : "not asked");
  const chance = measure.key === "exact_match" ? found.chance : null;
  const said =
    `${words(direction)} ${amount(e.mean, e.unit)}${unitText(e.unit)}, 95% interval ${interval(e)}` +
    (chance === null || chance === undefined ? "" : `, chance ${percent(chance)}`) +
    `, ${count(e.n, "fact")}`;
  return el(
    "td",
    { class: "figure-cell", title: said },
    el(
      "div",
      { class: "measure" },
      gauge(e, { ...scale, colour: `var(--direction-${direction})`, chance, kind: measure.kind }),
      el("span", { class: "value" }, amount(e.mean, e.unit)),
      el("span", { class: "range" }, interval(e)),
    ),
  );
}

function relationRows(record, measure, scale, asked, split, relations, open) {
  const line = (relation, label, attributes) =>
    el(
      "tr",
      attributes,
      el("th", { scope: "row" }, label),
      el("td", { class: "numeric" }, whole.format(factsIn(record, relation, split))),
      asked.map((d) => estimateCell(summaryOf(record, relation, split, d), measure, scale, d)),
    );
  const present = relations.filter((relation) => asked.some((d) => summaryOf(record, relation, split, d)));
  const name = [split ? quoted(words(split)) : "All facts"];
  if (present.length === 1) name.push(" · ", quoted(words(present[0]))); // its own row would say the same again
  const inner =
    present.length === 1
      ? []
      : present.map((relation) => line(relation, quoted(words(relation)), { class: "inner", hidden: !open }));
  const button = inner.length
    ? el(
        "button",
        {
          class: "twist",
          type: "button",
          "aria-expanded": String(open),
          onclick: () => {
            const shown = button.getAttribute("aria-expanded") === "true";
            button.setAttribute("aria-expanded", String(!shown));
            inner.forEach((row) => {
              row.hidden = shown;
            });
          },
        },
        name,
      )
    : name;
  return [line("", button, { class: "pooled" }), ...inner];
}

function relationsTable(record) {
  const asked = DIRECTIONS.filter((d) => record.summary.some((s) => s.direction === d));
  const relations = distinct(record.summary.map((s) => s.relation || "")).filter(Boolean);
  if (!asked.length) return null;
  const splits = ["", ...splitsOf(record)];
  const offered = MEASURES.filter((m) => record.summary.some((s) => s[m.key]));
  const holder = el("div", { class: "scroll" });
  const open = relations.length * splits.length <= 40;
  const show = (key) => {
    const measure = MEASURES.find((m) => m.key === key);
    const scale = scaleOf(record.summary, measure);
    holder.replaceChildren(
      el(
        "table",
        { class: "relations" },
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            el("th", { scope: "col" }, splits.length > 1 ? "Split and relation" : "Relation"),
            el("th", { scope: "col", class: "numeric" }, "Facts"),
            asked.map((d) =>
              el(
                "th",
                { scope: "col" },
                el("span", { class: "dot", style: { "background-color": `var(--direction-${d})` } }),
                capital(words(d)),
              ),
            ),
          ),
        ),
        splits.map((split) => el("tbody", {}, relationRows(record, measure, scale, asked, split, relations, open))),
      ),
    );
  };
  if (!offered.length) return null;
  show(offered[0].key);
  return section(
    "By relation",
    "Bars with 95% intervals over facts; the upright tick is chance.",
    choice(
      "Measure",
      offered.map((m) => [m.key, m.label]),
      offered[0].key,
      show,
    ),
    holder,
    pairedTable(record),
  );
}

const chanceOf = (p) => (p < 1e-4 ? "< 0.0001" : p.toFixed(p < 0.1 ? 4 : 2));

// The same facts asked both ways: how many are known one way only, and whether that could be luck.
function pairedTable(record) {
  const entries = record.summary.filter((s) => s.paired);
  if (!entries.length) return null;
  const heads = [
    "Split",
    "Relation",
    "facts",
    "known both ways",
    "forward only",
    "reverse only",
    "p",
    "forward less reverse",
  ];
  return fold(
    "Forward against reverse, tested on the same facts",
    el(
      "div",
      {},
      el(
        "p",
        { class: "small" },
        "p: exact McNemar test of the facts known one way only, two-sided. Last column: mean difference of the " +
          "log-probability per token, in nats, with its 95% interval.",
      ),
      el(
        "div",
        { class: "scroll" },
        el(
          "table",
          { class: "paired" },
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              heads.map((text, i) => el("th", { scope: "col", class: i > 1 ? "numeric" : null }, text)),
            ),
          ),
          el(
            "tbody",
            {},
            entries.map(({ split, relation, paired: p }) =>
              el(
                "tr",
                {},
                el("th", { scope: "row" }, split ? quoted(words(split)) : "all"),
                el("td", {}, relation ? quoted(words(relation)) : "all"),
                [p.facts, p.both, p.forward_only, p.reverse_only].map((n) =>
                  el("td", { class: "numeric" }, whole.format(n ?? NaN)),
                ),
                el("td", { class: "numeric" }, p.p_value === null ? "–" : chanceOf(p.p_value)),
                el(
                  "td",
                  { class: "numeric" },
                  p.difference ? `${number(p.difference.mean)} (${interval(p.difference)})` : "–",
                ),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}
