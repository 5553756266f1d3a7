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
  return el(
    "header",
    {},
    el("p", { class: "eyebrow" }, "oneway · ", quoted(record.study)),
    el("h1", {}, quoted(record.title || record.study)),
    record.asked ? el("p", { class: "asked", dir: "auto" }, String(record.asked)) : null,
    el(
      "p",
      { class: "about" },
      about.filter(Boolean).flatMap((text, i) => (i ? [" · ", quoted(text)] : [quoted(text)])),
    ),
  );
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
  return el(
    "p",
    { class: "example", dir: "auto" },
    el("span", {}, facts.table.text("prompt", i)),
    " ",
    el("mark", { class: `ink-${direction}` }, facts.table.text("answer", i).trim()),
  );
}

function tile(record, split, direction, facts, example) {
  const found = summaryOf(record, "", split, direction);
  if (!found || !found.exact_match) return null;
  const e = found.exact_match;
  const chance = found.chance;
  return el(
    "article",
    { class: "tile", style: { "--ink": `var(--direction-${direction})` } },
    el("h3", {}, capital(words(direction))),
    el("p", { class: "big" }, percent(e.mean)),
    gauge(e, { from: 0, to: 1, colour: "var(--ink)", chance }),
    el(
      "p",
      { class: "small" },
      `95% interval ${interval(e)}`,
      el("br"),
      chance === null || chance === undefined ? "" : `chance ${percent(chance)} · `,
      count(found.facts ?? e.n, "fact"),
    ),
    el("p", { class: "small" }, EXPLAINED[direction]),
    example === null ? null : exampleOf(facts, example, direction),
  );
}

function headline(record, facts) {
  const asked = DIRECTIONS.filter((d) => summaryOf(record, "", "", d));
  if (!asked.length) return null;
  const splits = splitsOf(record);
  const example = exampleFact(facts);
  const tiles = el("div", { class: "tiles" });
  const show = (split) =>
    tiles.replaceChildren(...asked.map((d) => tile(record, split, d, facts, example)).filter(Boolean));
  show("");
  const picks = splits.length ? choice("Facts", [["", "all"], ...splits.map((s) => [s, words(s)])], "", show) : null;
  return section(
    "Which way is it recalled?",
    "Share of facts whose whole answer is the model's own first choice, token by token.",
    picks,
    tiles,
    howToRead(),
  );
}

function howToRead() {
  const entries = [
    [
      "Whole answer right",
      "At every token of the answer, the right token is the most probable one. Nothing is sampled, nothing is forgiven.",
    ],
    [
      "Chance",
      "The best of three guessers that know no facts: one picks any candidate, one the most frequent answer, one an answer that shares the surname in the question. It is the upright tick on every bar.",
    ],
    [
      "95% interval",
      "How far the number could move with other facts of the same kind. Drawn as a thin line over the bar's end.",
    ],
    [
      "Log-probability",
      "In nats, of the right answer: 0 is certain, −0.7 is one in two, −2.3 one in ten, −6.9 one in a thousand. Per token, so that long names are not punished.",
    ],
    ["Rank", "Where the right answer stands among the candidates of its kind; 1 is best."],
    [
      "Margin",
      "Log-probability of the right answer less that of random answers of the same kind. Above 0, the model prefers what is right.",
    ],
    ...CLASSES.filter((c) => CLASS_MEANS[c]).map((c) => [`Class: ${words(c)}`, `The fact is ${CLASS_MEANS[c]}.`]),
  ];
  return fold(
    "How to read this page",
    el(
      "dl",
      { class: "terms" },
      entries.map(([term, meaning]) => [el("dt", {}, term), el("dd", {}, meaning)]),
    ),
  );
}

function classBar(counts, label) {
  const total = [...counts.values()].reduce((a, b) => a + b, 0);
  const parts = [...counts].filter(([, n]) => n > 0);
  const said = parts.map(([name, n]) => `${words(name)} ${n}`).join(", ");
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, label),
    el(
      "td",
      { class: "figure-cell" },
      el(
        "div",
        { class: "stack", role: "img", "aria-label": said },
        parts.map(([name, n]) =>
          el("span", {
            class: "stack-part",
            title: `${words(name)}: ${count(n, "fact")} (${percent(n / total)})`,
            style: { "flex-grow": n, "background-color": classInk(name) },
          }),
        ),
      ),
    ),
    [...counts].map(([, n]) => el("td", { class: "numeric" }, n ? whole.format(n) : "·")),
  );
}

function classes(facts) {
  if (!facts || !facts.table.has("class")) return null;
  const splits = facts.table.has("split") ? distinct(facts.table.column("split").texts) : [];
  const rows = [classBar(facts.classCounts(null), el("strong", {}, "All facts"))];
  if (splits.length > 1) {
    rows.push(...splits.map((s) => classBar(facts.classCounts(s), s ? quoted(words(s)) : el("em", {}, "no split"))));
  }
  const names = [...facts.classCounts(null).keys()];
  return section(
    "What each fact turned out to be",
    null,
    el(
      "div",
      { class: "scroll" },
      el(
        "table",
        { class: "classes" },
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            el("th", {}),
            el("th", {}),
            names.map((name) =>
              el(
                "th",
                { scope: "col", class: "numeric" },
                el("span", { class: "dot", style: { "background-color": classInk(name) } }),
                quoted(words(name)),
              ),
            ),
          ),
        ),
        el("tbody", {}, rows),
      ),
    ),
  );
}
