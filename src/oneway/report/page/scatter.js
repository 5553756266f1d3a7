// Every fact as a point: forward to the right, reverse (or in context) upward.

const GLYPHS = ["●", "◆", "■", "✚", "▲", "✖"]; // the shapes of CONTENT.symbols

// ln(p / (1 − p)) of a probability given as its logarithm: near-certain and near-impossible facts both spread out.
const logit = (x) => Math.min(x, -1e-7) - Math.log(-Math.expm1(Math.min(x, -1e-7)));
const PROBABILITIES = [1e-8, 1e-6, 1e-4, 0.01, 0.1, 0.5, 0.9, 0.99, 0.9999, 0.999999];
const chanceText = (p) => (p < 1e-3 ? `10<sup>\u2212${-Math.round(Math.log10(p))}</sup>` : String(p));

const SCATTER_MEASURES = [
  {
    key: "probability",
    column: "logprob_per_token",
    label: "probability per token",
    title: "probability per token",
    at: logit,
    axis: { tickvals: PROBABILITIES.map((p) => logit(Math.log(p))), ticktext: PROBABILITIES.map(chanceText) },
  },
  {
    key: "logprob",
    column: "logprob_per_token",
    label: "log-probability per token",
    title: "log-probability per token, nats",
  },
  { key: "margin", column: "margin", label: "margin", title: "margin over random answers, nats" },
  {
    key: "rank",
    column: "rank",
    label: "rank",
    title: "rank among candidates (1 is best)",
    axis: { type: "log", autorange: "reversed", dtick: 1 },
  },
];
const MANY = 4000; // above this WebGL draws faster; below it, vectors print sharper

const hasWebGL = (() => {
  try {
    return Boolean(document.createElement("canvas").getContext("webgl"));
  } catch {
    return false;
  }
})();

// A fact in words, for the pointer.
function factCard(facts, fact) {
  const table = facts.table;
  const known = facts.text("class", fact);
  const seen = new Set();
  const lines = facts.rowsOf(fact).filter((i) => {
    const direction = table.text("direction", i);
    return seen.has(direction) ? false : seen.add(direction);
  });
  return [
    el(
      "p",
      { class: "card-title" },
      quoted(facts.text("subject", fact)),
      " · ",
      quoted(words(facts.text("relation", fact))),
      " · ",
      quoted(facts.text("object", fact)),
    ),
    el(
      "p",
      { class: "small" },
      known ? [el("span", { class: "dot", style: { "background-color": classInk(known) } }), quoted(words(known))] : "",
      facts.text("split", fact) ? [" · ", quoted(words(facts.text("split", fact)))] : "",
    ),
    lines.map((i) => {
      const direction = table.text("direction", i);
      const right = table.number("exact_match", i) === 1;
      return el(
        "div",
        { class: "card-line" },
        el(
          "p",
          { class: `small ink-${direction}` },
          words(direction),
          " ",
          right ? "✓" : "✗",
          ` · rank ${number(table.number("rank", i))} of ${number(table.number("candidates", i))}`,
          ` · ${number(table.number("logprob_per_token", i))} nats per token`,
        ),
        el(
          "p",
          { class: "card-prompt", dir: "auto" },
          table.text("prompt", i),
          " ",
          el("b", {}, table.text("answer", i).trim()),
        ),
      );
    }),
  ];
}

function place(card, event) {
  const edge = 12;
  card.hidden = false;
  const { width, height } = card.getBoundingClientRect();
  const right = event.clientX + edge + width < document.documentElement.clientWidth;
  const below = event.clientY + edge + height < window.innerHeight;
  card.style.left = `${Math.max(edge, right ? event.clientX + edge : event.clientX - edge - width)}px`;
  card.style.top = `${Math.max(edge, below ? event.clientY + edge : event.clientY - edge - height)}px`;
}

function scatterTraces(facts, visible, measure, upward, splits) {
  const at = measure.at || ((value) => value);
  const x = facts.mean(measure.column, "forward");
  const y = facts.mean(measure.column, upward);
  const byClass = new Map();
  let left = 0;
  for (let fact = 0; fact < facts.length; fact++) {
    if (!visible[fact]) continue;
    if (Number.isNaN(x[fact]) || Number.isNaN(y[fact])) {
      left += 1;
      continue;
    }
    const name = facts.text("class", fact);
    if (!byClass.has(name)) byClass.set(name, []);
    byClass.get(name).push(fact);
  }
  const shape = (fact) =>
    CONTENT.symbols[Math.max(0, splits.indexOf(facts.text("split", fact))) % CONTENT.symbols.length];
  const total = [...byClass.values()].reduce((n, list) => n + list.length, 0);
  const type = total > MANY && hasWebGL ? "scattergl" : "scatter";
  const traces = [...byClass].map(([name, list]) => ({
    type,
    mode: "markers",
    hoverinfo: "none",
    customdata: list,
    x: list.map((fact) => at(x[fact])),
    y: list.map((fact) => at(y[fact])),
    marker: {
      color: colour(`class-${name}`) || colour("class-neither"),
      symbol: splits.length > 1 ? list.map(shape) : "circle",
      size: total > 20000 ? 4 : total > 2000 ? 6 : 7,
      opacity: total > 2000 ? 0.55 : 0.7,
      line: { width: 0.5, color: colour("paper") },
    },
  }));
  return { traces, left, total };
}

// A ring around the fact whose rows are on view.
function ringTrace(facts, fact, measure, upward) {
  const at = measure.at || ((value) => value);
  return {
    type: "scatter",
    mode: "markers",
    hoverinfo: "skip",
    x: [at(facts.mean(measure.column, "forward")[fact])],
    y: [at(facts.mean(measure.column, upward)[fact])],
    marker: { symbol: "circle-open", size: 16, color: colour("ink-plain"), line: { width: 2 } },
  };
}

function scatterLegend(facts, splits) {
  const counts = [...facts.classCounts(null)].filter(([, n]) => n);
  const keys = counts.map(([name, n]) =>
    el(
      "span",
      { class: "key" },
      el("span", { class: "dot", style: { "background-color": classInk(name) } }),
      quoted(words(name)),
      el("span", { class: "faint" }, `\u00a0${whole.format(n)}`),
    ),
  );
  const shapes = splits.map((split, i) =>
    el(
      "span",
      { class: "key" },
      el("span", { class: "glyph" }, GLYPHS[i % GLYPHS.length]),
      split ? quoted(words(split)) : "no split",
    ),
  );
  return [
    el("p", { class: "legend" }, el("span", { class: "faint" }, "Class"), keys),
    splits.length > 1 ? el("p", { class: "legend" }, el("span", { class: "faint" }, "Split"), shapes) : null,
  ];
}

function scatter(selection) {
  const { facts, table } = selection;
  const offered = SCATTER_MEASURES.filter((m) => table.has(m.column));
  const directions = table.column("direction").texts;
  const upwards = ["reverse", "in_context"].filter((d) => directions.includes(d));
  if (!offered.length || !upwards.length || !directions.includes("forward")) return null;
  const splits = table.has("split") ? [...table.column("split").texts] : [];
  const view = { measure: offered[0], upward: upwards[0] };
  const box = el("div", { class: "plot scatter", id: "scatter", role: "img" });
  const card = el("div", { class: "card", hidden: true });
  const told = el("p", { class: "small" });
  const draw = () => {
    const { traces, left, total } = scatterTraces(facts, selection.visibleFacts(), view.measure, view.upward, splits);
    const { title, axis, key } = view.measure;
    if (selection.fact !== null) traces.push(ringTrace(facts, selection.fact, view.measure, view.upward));
    const layout = plotLayout(`Forward: ${title}`, `${capital(words(view.upward))}: ${title}`);
    for (const drawn of [layout.xaxis, layout.yaxis]) Object.assign(drawn, axis);
    Plotly.react(
      box,
      traces,
      {
        ...layout,
        height: 520,
        margin: { l: 60, r: 16, t: 30, b: 52 },
        dragmode: "zoom",
        uirevision: `${key} ${view.upward}`,
      },
      PLOT_CONFIG,
    );
    box.setAttribute(
      "aria-label",
      `${count(total, "fact")}, forward against ${words(view.upward)}, ${title}. The table below holds the same facts.`,
    );
    told.textContent =
      "Point at a fact to read it; click to see its rows below. " +
      (left
        ? `${count(left, "fact")} without a ${words(view.upward)} or forward question ${left === 1 ? "is" : "are"} not drawn. `
        : "") +
      (facts.length < table.length / 3 ? "Several templates of a fact are averaged." : "");
    listen();
  };
  let listening = false;
  const listen = () => {
    if (listening) return;
    listening = true;
    box.on("plotly_hover", ({ points, event }) => {
      card.replaceChildren(...factCard(facts, points[0].customdata).flat());
      place(card, event);
    });
    box.on("plotly_unhover", () => {
      card.hidden = true;
    });
    box.on("plotly_click", ({ points }) =>
      selection.set((s) => {
        s.fact = points[0].customdata;
      }),
    );
  };
  plots.add(box, draw);
  selection.listen(() => plots.drawers.get(box)?.drawn && draw());
  return el(
    "div",
    {},
    el(
      "div",
      { class: "controls" },
      choice(
        "Measure",
        offered.map((m) => [m.key, m.label]),
        view.measure.key,
        (key) => {
          view.measure = offered.find((m) => m.key === key);
          draw();
        },
      ),
      upwards.length > 1
        ? choice(
            "Upward",
            upwards.map((d) => [d, words(d)]),
            view.upward,
            (d) => {
              view.upward = d;
              draw();
            },
          )
        : null,
    ),
    scatterLegend(facts, splits),
    box,
    told,
    card,
  );
}
