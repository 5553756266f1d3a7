// Two audits side by side: what became of the facts, by how much recall changed, every fact before and after.

const CHANGE_MEANS = {
  gained: "known in a direction more, and in none less",
  lost: "known in a direction less, and in none more",
  turned_around: "was known in one direction only, is now known in the other only",
  kept: "known in the same directions as before",
  not_comparable: "asked in no direction by both audits",
  only_before: "in the first audit only",
  only_after: "in the second audit only",
};

// As the picture draws them, and as its legend writes them: a colour alone says nothing to some readers.
const CHANGE_SHAPES = { gained: ["triangle-up", "▲"], lost: ["triangle-down", "▼"], turned_around: ["diamond", "◆"] };

const isComparison = (table) => Boolean(table && table.has("change", "class_before", "class_after"));

const changeInk = (name) => `var(--change-${name}, var(--change-kept))`;

const headOfGroup = (record, relation, split) =>
  record.summary.find((s) => (s.relation || "") === relation && (s.split || "") === split && s.changes);

const differencesOf = (record) => record.summary.filter((s) => s.difference);

// Splits that say something: one that holds every fact is the whole, and stands there already.
function comparedSplits(record) {
  const all = headOfGroup(record, "", "");
  const splits = distinct(record.summary.map((s) => s.split || "")).filter(Boolean);
  return splits.filter((split) => (headOfGroup(record, "", split)?.facts ?? 0) < (all?.facts ?? 0));
}

function changeTile(name, n, of) {
  return el(
    "article",
    { class: "tile change", style: { "--ink": changeInk(name) } },
    el("h3", {}, capital(words(name))),
    el("p", { class: "big" }, whole.format(n)),
    el("p", { class: "small" }, of ? `${percent(n / of)} of the facts compared` : null),
    el("p", { class: "small" }, `${capital(CHANGE_MEANS[name] || "")}.`),
  );
}

// A square per pair of classes; what stands off the diagonal has moved.
function transitionTable(transitions) {
  const counts = new Map(transitions.map((t) => [`${t.before} ${t.after}`, t.facts]));
  const at = (before, after) => counts.get(`${before} ${after}`) || 0;
  const largest = Math.max(1, ...counts.values());
  const total = (names, pick) => names.reduce((sum, name) => sum + pick(name), 0);
  const head = (name) => [
    el("span", { class: "dot", style: { "background-color": classInk(name) } }),
    capital(words(name)),
  ];
  return el(
    "table",
    { class: "transitions" },
    el("caption", { class: "small" }, "Rows: the class before. Columns: the class after."),
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        el("th", { scope: "col" }, "Before ↓ · after →"),
        CLASSES.map((name) => el("th", { scope: "col", class: "numeric" }, head(name))),
        el("th", { scope: "col", class: "numeric" }, "All"),
      ),
    ),
    el(
      "tbody",
      {},
      CLASSES.map((before) =>
        el(
          "tr",
          {},
          el("th", { scope: "row" }, head(before)),
          CLASSES.map((after) => {
            const n = at(before, after);
            const strength = n ? 8 + 52 * Math.sqrt(n / largest) : 0;
            return el(
              "td",
              {
                class: before === after ? "numeric same" : "numeric",
                style: { "background-color": `color-mix(in srgb, ${classInk(after)} ${strength}%, transparent)` },
                title: `${words(before)} before, ${words(after)} after: ${count(n, "fact")}`,
              },
              n ? whole.format(n) : "·",
            );
          }),
          el("td", { class: "numeric total" }, whole.format(total(CLASSES, (after) => at(before, after)))),
        ),
      ),
      el(
        "tr",
        { class: "total" },
        el("th", { scope: "row" }, "All"),
        CLASSES.map((after) =>
          el("td", { class: "numeric" }, whole.format(total(CLASSES, (before) => at(before, after)))),
        ),
        el("td", { class: "numeric" }, whole.format(total([...counts.values()], (n) => n))),
      ),
    ),
  );
}

function whatChanged(record) {
  const all = headOfGroup(record, "", "");
  if (!all) return null;
  const splits = comparedSplits(record);
  const holder = el("div", {});
  const show = (split) => {
    const { changes, transitions, facts } = headOfGroup(record, "", split);
    const left = ["not_comparable", "only_before", "only_after"].filter((name) => changes[name]);
    holder.replaceChildren(
      el(
        "div",
        { class: "tiles" },
        ["gained", "lost", "turned_around", "kept"].map((name) => changeTile(name, changes[name] ?? 0, facts)),
      ),
      left.length
        ? el(
            "p",
            { class: "small left" },
            "Not compared: ",
            left.map((name) => `${count(changes[name], "fact")} ${CHANGE_MEANS[name]}`).join("; "),
            ". They are in the table below.",
          )
        : "",
      el("div", { class: "scroll" }, transitionTable(transitions.filter((t) => t.before && t.after))),
      undefinedClasses(transitions),
    );
  };
  show("");
  return section(
    "What became of the facts?",
    `${count(all.facts, "fact")} in both audits, each compared with itself.`,
    splits.length ? choice("Facts", [["", "all"], ...splits.map((s) => [s, words(s)])], "", show) : null,
    holder,
  );
}

function undefinedClasses(transitions) {
  const n = transitions.filter((t) => !t.before || !t.after).reduce((sum, t) => sum + t.facts, 0);
  return n
    ? el(
        "p",
        { class: "small left" },
        `${count(n, "fact")} not asked both forward and in reverse ${n === 1 ? "has" : "have"} no class.`,
      )
    : "";
}

// Differences stand to the right of the middle where recall grew, to its left where it shrank.
function differenceGauge(e, reach, ink) {
  const middle = svg("line", { x1: 50, x2: 50, y1: 0, y2: 16, class: "gauge-chance" });
  const node = gauge(e, { from: -reach, to: reach, colour: ink, kind: "dot" });
  node.append(middle);
  return node;
}

const points = (x) => (x > 0 ? "+" : "") + percent(x).replace("%", "");

function pointsInterval(e) {
  return e.low === null || e.high === null ? "no interval" : `${points(e.low)} to ${points(e.high)}`;
}

const withSign = (x) => (x > 0 ? "+" : "") + number(x);

function differenceRow(entry, label, reach) {
  const ink = `var(--direction-${entry.direction})`;
  const [right, perToken] = [entry.difference, entry.logprob_per_token];
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, label),
    el("td", { class: "label" }, el("span", { class: `ink-${entry.direction}` }, words(entry.direction))),
    el("td", { class: "numeric" }, whole.format(entry.facts)),
    el("td", { class: "numeric" }, `${percent(entry.before)} → ${percent(entry.after)}`),
    el(
      "td",
      { class: "figure-cell" },
      el(
        "div",
        { class: "measure" },
        differenceGauge(right, reach, ink),
        el("span", { class: "value" }, points(right.mean)),
        el("span", { class: "range" }, pointsInterval(right)),
      ),
    ),
    el("td", { class: "numeric" }, whole.format(entry.right_after_only)),
    el("td", { class: "numeric" }, whole.format(entry.right_before_only)),
    el("td", { class: "numeric" }, entry.p_value === null ? "–" : chanceOf(entry.p_value)),
    el(
      "td",
      { class: "numeric" },
      perToken.mean === null ? "–" : [withSign(perToken.mean), el("br"), el("span", { class: "range" }, interval(perToken))],
    ),
  );
}

function pairedDifferences(record) {
  const entries = differencesOf(record);
  if (!entries.length) return null;
  const splits = ["", ...comparedSplits(record)];
  const reach = Math.max(
    0.05,
    ...entries.flatMap((s) => [s.difference.mean, s.difference.low, s.difference.high]).map((x) => Math.abs(x ?? 0)),
  );
  const heads = ["Facts", "Direction", "n", "Right", "Difference, points", "Gained", "Lost", "p", "Nats per token"];
  const holder = el("div", { class: "scroll" });
  const show = (split) => {
    const of = entries.filter((s) => (s.split || "") === split);
    const relations = distinct(of.map((s) => s.relation || ""));
    const named = relations.filter(Boolean).length > 1 ? relations : [""];
    holder.replaceChildren(
      el(
        "table",
        { class: "differences" },
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            heads.map((text, i) => el("th", { scope: "col", class: i > 1 && i !== 4 ? "numeric" : null }, text)),
          ),
        ),
        named.map((relation) =>
          el(
            "tbody",
            { class: relation ? null : "pooled" },
            of
              .filter((s) => (s.relation || "") === relation)
              .map((s, i) =>
                differenceRow(s, i ? "" : relation ? quoted(words(relation)) : el("strong", {}, "All"), reach),
              ),
          ),
        ),
      ),
    );
  };
  show("");
  return section(
    "By how much?",
    "Whole answers right, after less before on the same facts. The thin line is the 95% interval; where it reaches " +
      "over the middle, other facts of the kind might show no change.",
    splits.length > 1 ? choice("Facts", [["", "all"], ...splits.slice(1).map((s) => [s, words(s)])], "", show) : null,
    holder,
    el(
      "p",
      { class: "small left" },
      "Gained and lost: facts right in one audit only, in this direction. p: exact McNemar test of the two, two-sided. " +
        "Nats per token: mean difference of the log-probability per token of the right answer, with its 95% interval; " +
        "above 0 the model came to find the answer likelier.",
    ),
  );
}

const COMPARED_COLUMNS = [
  ...["subject", "relation", "object", "split", "change", "class_before", "class_after"],
  ...["forward_logprob_difference", "reverse_logprob_difference"],
];

function comparedFacts(run, table) {
  const selection = new Selection(table, new Facts(table));
  const rows = new RowTable(selection, `${run.record.study}-${run.record.run_id}`, COMPARED_COLUMNS);
  return section(
    "Fact by fact",
    "The filters act on the picture and on the table.",
    filterBar(selection),
    el("h3", {}, "Before against after"),
    changeScatter(selection),
    el("h3", {}, "All facts"),
    rows.node(),
  );
}

function changeCard(table, i) {
  const line = (direction) => {
    const [before, after] = ["before", "after"].map((when) => table.number(`${direction}_per_token_${when}`, i));
    return Number.isNaN(before) && Number.isNaN(after)
      ? null
      : el(
          "p",
          { class: `small ink-${direction}` },
          `${words(direction)}: ${number(before)} → ${number(after)} nats per token`,
        );
  };
  return [
    el(
      "p",
      { class: "card-title" },
      quoted(table.text("subject", i)),
      " · ",
      quoted(words(table.text("relation", i))),
      " · ",
      quoted(table.text("object", i)),
    ),
    el("p", { class: "small" }, changeLabel(table.text("change", i))),
    el(
      "p",
      { class: "small" },
      quoted(words(table.text("class_before", i) || "–")),
      " → ",
      quoted(words(table.text("class_after", i) || "–")),
    ),
    ...DIRECTIONS.map(line).filter(Boolean),
  ];
}

const changeLabel = (name) => [
  el("span", { class: "dot", style: { "background-color": changeInk(name) } }),
  quoted(words(name)),
];

// Every fact at its probability before (right) and after (up): above the line it became likelier.
function changeScatter(selection) {
  const { table } = selection;
  const offered = DIRECTIONS.filter((d) => table.has(`${d}_per_token_before`, `${d}_per_token_after`)).filter((d) =>
    ["before", "after"].every((when) => table.column(`${d}_per_token_${when}`).numbers?.some((x) => !Number.isNaN(x))),
  );
  if (!offered.length) return null;
  const view = { direction: offered.includes("reverse") ? "reverse" : offered[0] };
  const box = el("div", { class: "plot scatter", id: "scatter", role: "img" });
  const card = el("div", { class: "card", hidden: true });
  const told = el("p", { class: "small" });
  const draw = () => {
    const [x, y] = ["before", "after"].map((when) => table.column(`${view.direction}_per_token_${when}`).numbers);
    const byChange = new Map();
    let left = 0;
    for (const i of selection.matching) {
      if (Number.isNaN(x[i]) || Number.isNaN(y[i])) {
        left += 1;
        continue;
      }
      const name = table.text("change", i);
      if (!byChange.has(name)) byChange.set(name, []);
      byChange.get(name).push(i);
    }
    const total = [...byChange.values()].reduce((n, list) => n + list.length, 0);
    const type = total > MANY && hasWebGL ? "scattergl" : "scatter";
    const traces = [...byChange].map(([name, list]) => ({
      type,
      mode: "markers",
      hoverinfo: "none",
      customdata: list,
      x: list.map((i) => logit(x[i])),
      y: list.map((i) => logit(y[i])),
      marker: {
        color: colour(`change-${name}`) || colour("change-kept"),
        symbol: entry(CHANGE_SHAPES, name)?.[0] || "circle",
        size: total > 20000 ? 4 : total > 2000 ? 6 : 8,
        opacity: total > 2000 ? 0.55 : 0.7,
        line: { width: 0.5, color: colour("paper") },
      },
    }));
    const measure = SCATTER_MEASURES[0];
    const layout = plotLayout(`Before: ${measure.title}`, `After: ${measure.title}`);
    for (const drawn of [layout.xaxis, layout.yaxis]) Object.assign(drawn, measure.axis);
    const ends = [measure.axis.tickvals[0], measure.axis.tickvals.at(-1)];
    layout.shapes = [
      {
        type: "line",
        layer: "below",
        x0: ends[0],
        y0: ends[0],
        x1: ends[1],
        y1: ends[1],
        line: { color: colour("rule-strong"), width: 1 },
      },
    ];
    Plotly.react(
      box,
      traces,
      { ...layout, height: 520, margin: { l: 60, r: 16, t: 30, b: 52 }, dragmode: "zoom", uirevision: view.direction },
      PLOT_CONFIG,
    );
    const where = words(view.direction);
    box.setAttribute(
      "aria-label",
      `${count(total, "fact")} ${where}, before against after. The table below holds the same facts.`,
    );
    told.textContent =
      "On the line nothing changed; above it the right answer became likelier. Point at a fact to read it; click to " +
      `see its row below.${left ? ` ${count(left, "fact")} not asked ${where} in both audits ${left === 1 ? "is" : "are"} not drawn.` : ""}`;
    listen();
  };
  let listening = false;
  const listen = () => {
    if (listening) return;
    listening = true;
    box.on("plotly_hover", ({ points: [point], event }) => {
      card.replaceChildren(...changeCard(table, point.customdata).flat());
      place(card, event);
    });
    box.on("plotly_unhover", () => {
      card.hidden = true;
    });
    box.on("plotly_click", ({ points: [point] }) =>
      selection.set((s) => {
        s.fact = s.facts.ofRow[point.customdata];
      }),
    );
  };
  plots.add(box, draw);
  selection.listen(() => plots.drawers.get(box)?.drawn && draw());
  const present = new Set(table.column("change").texts);
  return el(
    "div",
    {},
    choice(
      "Direction",
      offered.map((d) => [d, words(d)]),
      view.direction,
      (d) => {
        view.direction = d;
        draw();
      },
    ),
    el(
      "p",
      { class: "legend" },
      ["gained", "lost", "turned_around", "kept"]
        .filter((name) => present.has(name))
        .map((name) =>
          el(
            "span",
            { class: "key" },
            el("span", { class: "glyph", style: { color: changeInk(name) } }, entry(CHANGE_SHAPES, name)?.[1] || "●"),
            quoted(words(name)),
          ),
        ),
    ),
    box,
    told,
    card,
  );
}
