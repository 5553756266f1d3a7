// Verdicts by rules that were fixed before the run, and what was measured for them.

const MARKS = { reproduced: "✓", contradicted: "✗", inconclusive: "?" };

const badge = (verdict) =>
  el(
    "span",
    { class: "badge", style: { "--ink": `var(--verdict-${entry(MARKS, verdict) ? verdict : "inconclusive"})` } },
    el("span", { "aria-hidden": "true" }, entry(MARKS, verdict) || "?"),
    " ",
    quoted(verdict),
  );

function measuredTable(measured) {
  const entries = Object.entries(measured || {});
  if (!entries.length) return null;
  const scales = new Map();
  for (const [, e] of entries) {
    const scale = scales.get(e.unit) || { from: 0, to: isShare(e.unit) ? 1 : 0 };
    const values = [e.mean, e.low, e.high].filter((x) => x !== null);
    scales.set(e.unit, { from: Math.min(scale.from, ...values), to: Math.max(scale.to, ...values) });
  }
  return el(
    "div",
    { class: "scroll" },
    el(
      "table",
      { class: "measured" },
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          ["Measured", "", "mean", "95% interval", "unit", "n"].map((text, i) =>
            el("th", { scope: "col", class: i === 2 || i === 5 ? "numeric" : null }, text),
          ),
        ),
      ),
      el(
        "tbody",
        {},
        entries.map(([name, e]) =>
          el(
            "tr",
            {},
            el("th", { scope: "row" }, quoted(words(name))),
            el(
              "td",
              { class: "figure-cell" },
              gauge(e, { ...scales.get(e.unit), colour: directionInk(name), kind: "dot" }),
            ),
            el("td", { class: "numeric" }, amount(e.mean, e.unit)),
            el("td", {}, interval(e)),
            el("td", {}, quoted(e.unit || "")),
            el("td", { class: "numeric" }, whole.format(e.n)),
          ),
        ),
      ),
    ),
  );
}

// A quantity that is named after a direction is drawn in that direction's colour.
function directionInk(name) {
  const found = ["in_context", "reverse", "forward"].find((d) => name.replaceAll(" ", "_").includes(d));
  return found ? `var(--direction-${found})` : "var(--ink-plain)";
}

function claims(record) {
  if (!record.claims.length) return null;
  const same = record.claims.every((c) => JSON.stringify(c.measured) === JSON.stringify(record.claims[0].measured));
  const cards = record.claims.map((c) =>
    el(
      "article",
      { class: "claim" },
      el("div", { class: "claim-head" }, badge(c.verdict), el("h3", {}, quoted(c.id))),
      el("p", { class: "claim-text", dir: "auto" }, c.text),
      el(
        "dl",
        { class: "terms" },
        el("dt", {}, "Rule"),
        el("dd", { dir: "auto" }, c.rule || "–"),
        el("dt", {}, "Why"),
        el("dd", { dir: "auto" }, c.reason || "–"),
        el("dt", {}, "Source"),
        el("dd", { dir: "auto" }, c.source || "–"),
      ),
      same ? null : measuredTable(c.measured),
    ),
  );
  const list =
    record.claims.length > 3
      ? el(
          "div",
          { class: "scroll" },
          el(
            "table",
            { class: "verdicts" },
            el(
              "tbody",
              {},
              record.claims.map((c) =>
                el(
                  "tr",
                  {},
                  el("th", { scope: "row" }, quoted(c.id)),
                  el("td", {}, badge(c.verdict)),
                  el("td", { dir: "auto" }, c.text),
                ),
              ),
            ),
          ),
        )
      : null;
  return section(
    record.claims.length === 1 ? "Verdict" : "Verdicts",
    null,
    list,
    list ? fold("The rules, the sources, and what was measured", el("div", {}, cards)) : cards,
    same ? measuredTable(record.claims[0].measured) : null,
  );
}

function figures(run) {
  if (!run.figures.length) return null;
  return section(
    run.figures.length === 1 ? "Figure" : "Figures",
    null,
    run.figures.map((f) =>
      el("figure", {}, el("img", { src: f.source, alt: `Figure ${f.name}` }), el("figcaption", {}, quoted(f.name))),
    ),
  );
}
