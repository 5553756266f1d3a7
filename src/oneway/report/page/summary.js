// The head of the page and what is true of many facts at once. Every number comes from the record's summary.

const MEASURES = [
  { key: "exact_match", label: "whole answer right", kind: "bar" },
  { key: "top1", label: "ranked first", kind: "bar" },
  { key: "logprob_per_token", label: "log-probability per token", kind: "dot" },
  { key: "margin", label: "margin", kind: "dot" },
];

const EXPLAINED = {
  forward: "The subject is given, the object is asked.",
  reverse: "The object is given, the subject is asked.",
  in_context: "The fact stands in the prompt, then the reverse question is asked.",
};

const CLASS_MEANS = {
  both_ways: "recalled forward and in reverse",
  forward_only: "recalled forward, not in reverse",
  reverse_only: "recalled in reverse, not forward",
  in_context_only: "only read off the prompt",
  neither: "not recalled in any direction",
};

function header(record) {
  const commit = record.commit && record.commit.commit;
  const about = [
    record.created ? record.created.slice(0, 16).replace("T", " ") + " UTC" : null,
    record.wall_seconds ? `${number(record.wall_seconds)} s` : null,
    record.seeds.length ? count(record.seeds.length, "seed") : null,
    commit ? `commit ${commit.slice(0, 10)}${record.commit.dirty ? " with changes" : ""}` : null,
  ];
  return el("header", {},
    el("p", { class: "eyebrow" }, "oneway · ", quoted(record.study)),
    el("h1", {}, quoted(record.title || record.study)),
    record.asked ? el("p", { class: "asked", dir: "auto" }, String(record.asked)) : null,
    el("p", { class: "about" }, about.filter(Boolean).flatMap((text, i) => (i ? [" · ", quoted(text)] : [quoted(text)]))));
}

const summaryOf = (record, relation, split, direction) =>
  record.summary.find((s) => (s.relation || "") === relation && (s.split || "") === split && s.direction === direction);

const distinct = (values) => [...new Set(values)];

const factsIn = (record, relation, split) =>
  Math.max(0, ...DIRECTIONS.map((d) => summaryOf(record, relation, split, d)?.facts ?? 0));

// Splits that say something: one that holds every fact is the whole, and stands there already.
function splitsOf(record) {
  const splits = distinct(record.summary.map((s) => s.split || "")).filter(Boolean);
  return splits.filter((split) => factsIn(record, "", split) < factsIn(record, "", ""));
}

// A fact that shows the difference, in the reader's own file: best one that is recalled forward only.
function exampleFact(facts) {
  if (!facts) return null;
  const asked = (fact) => distinct(facts.rowsOf(fact).map((i) => facts.table.text("direction", i))).length;
  let best = null;
  for (let fact = 0; fact < Math.min(facts.length, 5000); fact++) {
    const score = asked(fact) + (facts.text("class", fact) === "forward_only" ? 1 : 0);
    if (best === null || score > best.score) best = { fact, score };
    if (score > DIRECTIONS.length) break;
  }
  return best && best.fact;
}

function exampleOf(facts, fact, direction) {
  const i = facts.rowsOf(fact).find((row) => facts.table.text("direction", row) === direction);
  if (i === undefined) return null;
  return el("p", { class: "example", dir: "auto" },
    el("span", {}, facts.table.text("prompt", i)), " ",
    el("mark", { class: `ink-${direction}` }, facts.table.text("answer", i).trim()));
}

function tile(record, split, direction, facts, example) {
  const found = summaryOf(record, "", split, direction);
  if (!found || !found.exact_match) return null;
  const e = found.exact_match;
  const chance = found.chance;
  return el("article", { class: "tile", style: { "--ink": `var(--direction-${direction})` } },
    el("h3", {}, capital(words(direction))),
    el("p", { class: "big" }, percent(e.mean)),
    gauge(e, { from: 0, to: 1, colour: "var(--ink)", chance }),
    el("p", { class: "small" }, `95% interval ${interval(e)}`, el("br"),
      chance === null || chance === undefined ? "" : `chance ${percent(chance)} · `, count(found.facts ?? e.n, "fact")),
    el("p", { class: "small" }, EXPLAINED[direction]),
    example === null ? null : exampleOf(facts, example, direction));
}

function headline(record, facts) {
  const asked = DIRECTIONS.filter((d) => summaryOf(record, "", "", d));
  if (!asked.length) return null;
  const splits = splitsOf(record);
  const example = exampleFact(facts);
  const tiles = el("div", { class: "tiles" });
  const show = (split) => tiles.replaceChildren(
    ...asked.map((d) => tile(record, split, d, facts, example)).filter(Boolean));
  show("");
  const picks = splits.length
    ? choice("Facts", [["", "all"], ...splits.map((s) => [s, words(s)])], "", show)
    : null;
  return section("Which way is it recalled?", "Share of facts whose whole answer is the model's own first choice, token by token.",
    picks, tiles, howToRead());
}

function howToRead() {
  const entries = [
    ["Whole answer right", "At every token of the answer, the right token is the most probable one. Nothing is sampled, nothing is forgiven."],
    ["Chance", "The best of three guessers that know no facts: one picks any candidate, one the most frequent answer, one an answer that shares the surname in the question. It is the dark tick on every bar."],
    ["95% interval", "How far the number could move with other facts of the same kind. Drawn as a thin line over the bar's end."],
    ["Log-probability", "In nats, of the right answer: 0 is certain, −0.7 is one in two, −2.3 one in ten, −6.9 one in a thousand. Per token, so that long names are not punished."],
    ["Rank", "Where the right answer stands among the candidates of its kind; 1 is best."],
    ["Margin", "Log-probability of the right answer less that of random answers of the same kind. Above 0, the model prefers what is right."],
    ...CLASSES.filter((c) => CLASS_MEANS[c]).map((c) => [`Class: ${words(c)}`, `The fact is ${CLASS_MEANS[c]}.`]),
  ];
  return fold("How to read this page",
    el("dl", { class: "terms" }, entries.map(([term, meaning]) => [el("dt", {}, term), el("dd", {}, meaning)])));
}

function classBar(counts, label) {
  const total = [...counts.values()].reduce((a, b) => a + b, 0);
  const parts = [...counts].filter(([, n]) => n > 0);
  const said = parts.map(([name, n]) => `${words(name)} ${n}`).join(", ");
  return el("tr", {},
    el("th", { scope: "row" }, label),
    el("td", { class: "figure-cell" },
      el("div", { class: "stack", role: "img", "aria-label": said },
        parts.map(([name, n]) => el("span", {
          class: "stack-part", title: `${words(name)}: ${count(n, "fact")} (${percent(n / total)})`,
          style: { "flex-grow": n, "background-color": classInk(name) } })))),
    [...counts].map(([, n]) => el("td", { class: "numeric" }, n ? whole.format(n) : "·")));
}

function classes(facts) {
  if (!facts || !facts.table.has("class")) return null;
  const splits = facts.table.has("split") ? distinct(facts.table.column("split").texts) : [];
  const rows = [classBar(facts.classCounts(null), el("strong", {}, "All facts"))];
  if (splits.length > 1) {
    rows.push(...splits.map((s) => classBar(facts.classCounts(s), s ? quoted(words(s)) : el("em", {}, "no split"))));
  }
  const names = [...facts.classCounts(null).keys()];
  return section("What each fact turned out to be", null,
    el("div", { class: "scroll" }, el("table", { class: "classes" },
      el("thead", {}, el("tr", {}, el("th", {}), el("th", {}),
        names.map((name) => el("th", { scope: "col", class: "numeric" },
          el("span", { class: "dot", style: { "background-color": classInk(name) } }), quoted(words(name)))))),
      el("tbody", {}, rows))));
}

// One scale for all rows: shares from 0 to 1, other units over what was measured.
function scaleOf(items, measure) {
  if (measure.kind === "bar") return { from: 0, to: 1 };
  const values = items.filter((s) => s[measure.key]).flatMap((s) => [s[measure.key].low, s[measure.key].high, s[measure.key].mean]).filter((x) => x !== null);
  return { from: Math.min(...values), to: Math.max(...values, 0) };
}

function estimateCell(found, measure, scale, direction) {
  const e = found && found[measure.key];
  if (!e) return el("td", { class: "figure-cell none" }, found ? "–" : "not asked");
  const chance = measure.key === "exact_match" ? found.chance : null;
  const said = `${words(direction)} ${amount(e.mean, e.unit)}${unitText(e.unit)}, 95% interval ${interval(e)}` +
    (chance === null || chance === undefined ? "" : `, chance ${percent(chance)}`) + `, ${count(e.n, "fact")}`;
  return el("td", { class: "figure-cell", title: said },
    el("div", { class: "measure" },
      gauge(e, { ...scale, colour: `var(--direction-${direction})`, chance, kind: measure.kind }),
      el("span", { class: "value" }, amount(e.mean, e.unit)),
      el("span", { class: "range" }, interval(e))));
}

function relationRows(record, measure, scale, asked, split, relations, open) {
  const line = (relation, label, attributes) => el("tr", attributes,
    el("th", { scope: "row" }, label),
    el("td", { class: "numeric" }, whole.format(factsIn(record, relation, split))),
    asked.map((d) => estimateCell(summaryOf(record, relation, split, d), measure, scale, d)));
  const present = relations.filter((relation) => asked.some((d) => summaryOf(record, relation, split, d)));
  const name = [split ? quoted(words(split)) : "All facts"];
  if (present.length === 1) name.push(" · ", quoted(words(present[0]))); // its own row would say the same again
  const inner = present.length === 1 ? [] : present.map((relation) => line(relation, quoted(words(relation)), { class: "inner", hidden: !open }));
  const button = inner.length
    ? el("button", { class: "twist", type: "button", "aria-expanded": String(open), onclick: () => {
      const shown = button.getAttribute("aria-expanded") === "true";
      button.setAttribute("aria-expanded", String(!shown));
      inner.forEach((row) => { row.hidden = shown; });
    } }, name) : name;
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
    holder.replaceChildren(el("table", { class: "relations" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, splits.length > 1 ? "Split and relation" : "Relation"),
        el("th", { scope: "col", class: "numeric" }, "Facts"),
        asked.map((d) => el("th", { scope: "col" }, el("span", { class: "dot", style: { "background-color": `var(--direction-${d})` } }), capital(words(d)))))),
      splits.map((split) => el("tbody", {}, relationRows(record, measure, scale, asked, split, relations, open)))));
  };
  if (!offered.length) return null;
  show(offered[0].key);
  return section("By relation", "Bars with 95% intervals over facts; the dark tick is chance.",
    choice("Measure", offered.map((m) => [m.key, m.label]), offered[0].key, show), holder,
    pairedTable(record));
}

const chanceOf = (p) => (p < 1e-4 ? "< 0.0001" : p.toFixed(p < 0.1 ? 4 : 2));

// The same facts asked both ways: how many are known one way only, and whether that could be luck.
function pairedTable(record) {
  const entries = record.summary.filter((s) => s.paired);
  if (!entries.length) return null;
  const heads = ["Split", "Relation", "facts", "known both ways", "forward only", "reverse only", "p", "forward less reverse"];
  return fold("Forward against reverse, tested on the same facts",
    el("div", {},
      el("p", { class: "small" }, "p: exact McNemar test of the facts known one way only, two-sided. Last column: mean difference of the " +
        "log-probability per token, in nats, with its 95% interval."),
      el("div", { class: "scroll" }, el("table", { class: "paired" },
        el("thead", {}, el("tr", {}, heads.map((text, i) => el("th", { scope: "col", class: i > 1 ? "numeric" : null }, text)))),
        el("tbody", {}, entries.map(({ split, relation, paired: p }) => el("tr", {},
          el("th", { scope: "row" }, split ? quoted(words(split)) : "all"), el("td", {}, relation ? quoted(words(relation)) : "all"),
          [p.facts, p.both, p.forward_only, p.reverse_only].map((n) => el("td", { class: "numeric" }, whole.format(n ?? NaN))),
          el("td", { class: "numeric" }, p.p_value === null ? "–" : chanceOf(p.p_value)),
          el("td", { class: "numeric" }, p.difference ? `${number(p.difference.mean)} (${interval(p.difference)})` : "–"))))))));
}
