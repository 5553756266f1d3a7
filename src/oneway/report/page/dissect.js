// A dissection, in the order in which it is read: found, hypotheses, picture, one fact, parts, steps.

function foundLine(run) {
  const { found } = run.dissection;
  return found ? section("What was found", null, el("p", { class: "found", dir: "auto" }, String(found))) : null;
}

const AGREES = { yes: ["✓", "agrees"], no: ["✗", "disagrees"] };

function agreement(text) {
  const [mark, said] = entry(AGREES, text) || ["–", "does not tell"];
  return el(
    "td",
    { class: "truth label" },
    el("span", { class: text === "yes" ? "yes" : text === "no" ? "no" : "faint" }, `${mark} ${said}`),
  );
}

function hypotheses(run) {
  const rows = rowsOf(run.dissection.hypotheses);
  if (!rows.length) return null;
  const standing = new Map(Object.entries(run.dissection.standing));
  const names = distinct(rows.map((row) => row.hypothesis));
  const interval = (row) =>
    Number.isFinite(row.low) && Number.isFinite(row.high) ? `${number(row.low)} to ${number(row.high)}` : "no interval";
  return section(
    "The hypotheses, as predicted and as measured",
    "Each says beforehand how each test must come out. The prediction was fixed before the measurement.",
    el(
      "div",
      { class: "scroll" },
      el(
        "table",
        { class: "numbers hypotheses" },
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            ["Test", "Predicted", "Measured", "95% interval", ""].map((text, i) =>
              el("th", { scope: "col", class: i === 2 ? "numeric" : null }, text),
            ),
          ),
        ),
        names.map((name) =>
          el(
            "tbody",
            {},
            el(
              "tr",
              { class: "pooled" },
              el(
                "th",
                { colspan: 5, scope: "rowgroup" },
                el("strong", {}, quoted(words(name))),
                standing.has(name) ? [" · ", quoted(standing.get(name))] : null,
              ),
            ),
            rows
              .filter((row) => row.hypothesis === name)
              .map((row) =>
                el(
                  "tr",
                  {},
                  el("td", {}, quoted(row.test)),
                  el("td", {}, quoted(row.predicted)),
                  el("td", { class: "numeric" }, number(row.measured)),
                  el("td", {}, interval(row)),
                  agreement(row.agrees),
                ),
              ),
          ),
        ),
      ),
    ),
  );
}

// Several groups of facts or models: one at a time on view.
function pictures(run) {
  const all = run.dissection.pictures;
  if (!all.length) return null;
  const holder = el("div", {});
  const show = (i) => {
    for (const plot of holder.querySelectorAll(".plot")) plots.remove(plot);
    holder.replaceChildren(...[circuitPicture, factPath, unitsTable].map((part) => shown(() => part(all[i]))));
  };
  show(0);
  const choices =
    all.length > 1
      ? choice(
          "Facts",
          all.map((one, i) => [String(i), one.title]),
          "0",
          (i) => show(Number(i)),
        )
      : el("p", { class: "small" }, quoted(all[0].title));
  return el("div", {}, el("section", { class: "which" }, choices), holder);
}

const dissectionParts = (run) => [() => foundLine(run), () => hypotheses(run), () => pictures(run), () => steps(run)];
