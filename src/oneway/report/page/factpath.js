// One fact at a time: which one, and its way through the model.

const SHOWN_ATTENTION = 0.2; // weaker looks are not drawn

// Numbers of a packed array by their indices.
class Cube {
  constructor({ shape, values }) {
    this.shape = shape;
    this.values = values;
  }

  at(...index) {
    const flat = index.reduce((sum, i, axis) => sum * this.shape[axis] + i, 0);
    const value = this.values[flat];
    return value === null || value === undefined ? NaN : value;
  }
}

class Paths {
  constructor(paths) {
    this.facts = new Table(paths.facts);
    this.neurons = new Table(paths.neurons);
    this.answers = paths.answers;
    this.heads = paths.heads;
    this.unit = paths.unit;
    for (const name of ["shown", "weights", "trained", "attention", "effects"]) this[name] = new Cube(paths[name]);
    this.neuronsOf = Array.from({ length: this.facts.length }, () => []);
    for (let i = 0; i < this.neurons.length; i++) this.neuronsOf[this.neurons.number("fact", i)]?.push(i);
  }

  right(fact) {
    return this.facts.text("answer", fact) === this.facts.text("said", fact);
  }
}

// What the search finds: the facts whose name or answer holds every word.
function matching(paths, text, which) {
  const terms = plain(text).split(/\s+/).filter(Boolean);
  const found = [];
  for (let fact = 0; fact < paths.facts.length; fact++) {
    if (which !== "" && paths.right(fact) !== (which === "right")) continue;
    const said = plain(`${paths.facts.text("subject", fact)} ${paths.facts.text("answer", fact)}`);
    if (terms.every((term) => said.includes(term))) found.push(fact);
  }
  return found;
}

function factPicker(paths, show) {
  let found = [];
  let which = "";
  const select = el("select", { class: "fact-choice", onchange: () => choose(Number(select.value)) });
  const search = el("input", {
    type: "search",
    placeholder: "name or answer …",
    spellcheck: "false",
    dir: "auto",
    oninput: later(80, () => find()),
  });
  const told = el("p", { class: "told", role: "status" });
  const turn = (by, label, text) =>
    el(
      "button",
      { type: "button", "aria-label": label, onclick: () => choose(found[found.indexOf(Number(select.value)) + by]) },
      text,
    );
  const [before, after] = [turn(-1, "Previous fact", "‹ Previous"), turn(1, "Next fact", "Next ›")];
  const choose = (fact) => {
    select.value = String(fact);
    const at = found.indexOf(fact);
    before.disabled = at <= 0;
    after.disabled = at >= found.length - 1;
    told.textContent = `${whole.format(at + 1)} of ${count(found.length, "fact")}`;
    show(fact);
  };
  const find = () => {
    found = matching(paths, search.value, which);
    select.replaceChildren(
      ...found.map((fact) =>
        el(
          "option",
          { value: String(fact), dir: "auto" },
          `${paths.facts.text("subject", fact)} – ${paths.facts.text("answer", fact)}`,
        ),
      ),
    );
    if (found.length) return choose(found[0]);
    before.disabled = after.disabled = true;
    told.textContent = "No fact matches.";
    return show(null);
  };
  const wrong = Array.from({ length: paths.facts.length }, (_, fact) => fact).some((fact) => !paths.right(fact));
  const kinds = wrong
    ? picker(
        "Answered",
        [
          ["", "right or wrong"],
          ["right", "right"],
          ["wrong", "wrong"],
        ],
        "",
        (value) => {
          which = value;
          find();
        },
      )
    : null;
  const bar = el(
    "div",
    { class: "filters" },
    el("label", { class: "picker wide" }, el("span", {}, "Search"), search),
    el("label", { class: "picker wide" }, el("span", {}, "Fact"), select),
    kinds,
    el("div", { class: "filters-end" }, told, before, after),
  );
  return { bar, start: find };
}

function factHead(paths, fact) {
  const right = paths.right(fact);
  return el(
    "div",
    { class: "fact-head" },
    el("h3", { class: "fact-name" }, quoted(paths.facts.text("subject", fact))),
    el(
      "p",
      {},
      "Right answer ",
      el("strong", {}, quoted(paths.facts.text("answer", fact))),
      ". The model says ",
      el("strong", {}, quoted(paths.facts.text("said", fact))),
      right ? " ✓" : " ✗",
      `; it gives the right answer ${percent(paths.facts.number("probability", fact))} of all probability.`,
    ),
  );
}

// The circuit with this fact's own numbers: how much each part matters for it, and where its heads look.
function factCircuit(picture, paths, nodes, fact) {
  const own = nodes.map((node, i) => ({ ...node, effect: paths.effects.at(fact, i), low: NaN, high: NaN }));
  const arrows = [];
  paths.heads.forEach((head, h) => {
    const node = own.find((one) => one.id === head);
    if (!node) return;
    picture.circuit.places.forEach((source, p) => {
      const effect = paths.attention.at(fact, h, p);
      if (effect < SHOWN_ATTENTION) return;
      arrows.push({
        source,
        target: head,
        effect,
        share: true,
        what: `${nodeWords(node)} looks at “${source}”`,
      });
    });
  });
  const last = picture.circuit.places.at(-1);
  for (const node of own.filter((one) => one.place === last))
    arrows.push({
      source: node.id,
      target: "answer",
      effect: node.effect,
      what: `${nodeWords(node)} → the answer's score`,
    });
  return circuitDrawing(picture.circuit, own, arrows, "Circuit of one fact");
}

function looksTable(picture, paths, fact) {
  const { places } = picture.circuit;
  return el(
    "div",
    { class: "scroll" },
    el(
      "table",
      { class: "numbers looks" },
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          el("th", {}),
          places.map((name) => el("th", { scope: "col", class: "numeric" }, quoted(name))),
        ),
      ),
      el(
        "tbody",
        {},
        paths.heads.map((head, h) =>
          el(
            "tr",
            {},
            el("th", { scope: "row" }, quoted(head)),
            places.map((_, p) => el("td", { class: "numeric" }, percent(paths.attention.at(fact, h, p)))),
          ),
        ),
      ),
    ),
  );
}

function probeChart(paths, fact, cube, title, yTitle) {
  const [, depth, shown] = cube.shape;
  const plot = el("div", { class: "plot chart", role: "img", "aria-label": title });
  const names = Array.from({ length: shown }, (_, k) => String(paths.answers[paths.shown.at(fact, k)]));
  plots.add(plot, () => {
    const x = Array.from({ length: depth }, (_, d) => d);
    const traces = names.map((name, k) => ({
      type: "scatter",
      mode: "lines+markers",
      x,
      y: x.map((d) => finite(cube.at(fact, d, k))),
      line: { color: colour(chartInk(k)), width: k ? 1.5 : 3 },
      marker: { color: colour(chartInk(k)), size: k ? 4 : 6 },
      hoverinfo: "text",
      hovertext: x.map((d) =>
        plotText(
          `${clipped(name, 60)} after ${d ? `layer ${d - 1}` : "the embedding"}: ${number(cube.at(fact, d, k))}`,
        ),
      ),
    }));
    const layout = plotLayout("after layer (E: the embedding)", yTitle);
    const every = Math.ceil(depth / 17);
    const ticks = x.filter((d) => d % every === 0);
    Object.assign(layout.xaxis, { tickvals: ticks, ticktext: ticks.map((d) => (d ? String(d - 1) : "E")) });
    Plotly.react(plot, traces, { ...layout, height: 270, margin: { l: 62, r: 14, t: 24, b: 46 } }, PLOT_CONFIG);
  });
  return el("figure", {}, el("figcaption", { class: "panel-title" }, title), plot);
}

function answerLegend(paths, fact) {
  const [, , shown] = paths.weights.shape;
  return el(
    "p",
    { class: "legend" },
    Array.from({ length: shown }, (_, k) =>
      el(
        "span",
        { class: "key" },
        el("span", { class: "stroke", style: { "background-color": `var(--${chartInk(k)})` } }),
        el("span", {}, quoted(paths.answers[paths.shown.at(fact, k)]), k ? null : " (right)"),
      ),
    ),
  );
}

function factNeurons(paths, fact) {
  const { neurons } = paths;
  const heads = ["Layer", "Neuron", "Activation", `Effect, ${paths.unit}`];
  return el(
    "div",
    { class: "scroll" },
    el(
      "table",
      { class: "numbers neurons" },
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          heads.map((text) => el("th", { scope: "col", class: "numeric" }, quoted(text))),
          el("th", { scope: "col" }, "The answer that it raises most"),
        ),
      ),
      el(
        "tbody",
        {},
        paths.neuronsOf[fact].map((i) =>
          el(
            "tr",
            {},
            ["layer", "neuron", "activation", "effect"].map((name) =>
              el("td", { class: "numeric" }, number(neurons.number(name, i))),
            ),
            el("td", {}, quoted(neurons.text("writes", i))),
          ),
        ),
      ),
    ),
  );
}

function factPath(picture) {
  const paths = new Paths(picture.paths);
  const nodes = rowsOf(picture.circuit.nodes);
  const holder = el("div", { class: "fact-path" });
  const show = (fact) => {
    for (const plot of holder.querySelectorAll(".plot")) plots.remove(plot);
    if (fact === null) return holder.replaceChildren();
    return holder.replaceChildren(
      factHead(paths, fact),
      circuitLegend(
        "the darker, the more this fact's answer falls without it",
        "arrows: where its heads look",
        "dotted: against the right answer",
      ),
      factCircuit(picture, paths, nodes, fact),
      fold("Where its heads look, in numbers", looksTable(picture, paths, fact)),
      answerLegend(paths, fact),
      el(
        "div",
        { class: "panels" },
        probeChart(paths, fact, paths.weights, "Read by the head's own weights", "score, logits"),
        probeChart(paths, fact, paths.trained, "Read by a trained probe that never saw this fact", "probability"),
      ),
      el("h4", {}, "The neurons that matter most for it, on the name's last token"),
      el(
        "p",
        { class: "small" },
        "Against their mean over all facts: silence where a neuron mostly fires has an effect, too.",
      ),
      factNeurons(paths, fact),
    );
  };
  const { bar, start } = factPicker(paths, show);
  start();
  return section(
    "One fact's path",
    "Pick a name: what each part does for this very fact, where its heads look, and what can be read off the name's last token after every layer.",
    bar,
    holder,
    paths.neurons.length ? null : el("p", { class: "none" }, "No neuron lies below the head."),
    picture.paths.notes.map((note) => el("p", { class: "small", dir: "auto" }, String(note))),
  );
}

function unitsTable(picture) {
  const units = rowsOf(picture.units);
  const of = (kind) => units.filter((unit) => unit.kind === kind);
  const table = (rows, name) =>
    el(
      "div",
      { class: "scroll" },
      el(
        "table",
        { class: "numbers units" },
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            [
              name,
              "Where",
              "Mean effect",
              "Acts most on",
              "What these share",
              "Writes, of the answers",
              "Writes, of all words",
            ].map((text, i) => el("th", { scope: "col", class: i === 2 ? "numeric" : null }, text)),
          ),
        ),
        el(
          "tbody",
          {},
          rows.map((unit) =>
            el(
              "tr",
              {},
              el("th", { scope: "row" }, `${unit.layer}.${unit.index}`),
              el("td", {}, quoted(unit.place)),
              el("td", { class: "numeric" }, number(unit.effect)),
              ["fires_on", "share", "writes_answers", "writes_words"].map((column) =>
                el("td", {}, quoted(unit[column])),
              ),
            ),
          ),
        ),
      ),
    );
  return section(
    "The strongest heads and neurons",
    "Named by layer and number. What a neuron writes is read off its output weights: through the head that extracts the answer, and straight against the vocabulary.",
    of("head").length ? table(of("head"), "Head") : null,
    of("neuron").length ? table(of("neuron"), "Neuron") : null,
  );
}
