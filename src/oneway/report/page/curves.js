// A study's curves: a thin line per seed, a thick one for their mean.

const MANY_PANELS = 24;
const CLOCKS = ["step", "epoch", "update", "iteration"];

// Which column is the clock, which tell lines apart, which are drawn.
function rolesOf(table) {
  const numeric = table.columns.filter((c) => c.numeric && c.name !== "seed");
  const clock = numeric.find((c) => CLOCKS.includes(c.name)) || numeric[0];
  const values = numeric.filter((c) => c !== clock);
  const texts = table.columns.filter((c) => c.kind === "text");
  const panel = texts.find((c) => c.name === "quantity" || c.name === "metric") || null;
  return { clock, values, panel, keys: texts.filter((c) => c !== panel) };
}

function linesOf(table, roles, value, panelText) {
  const seeds = table.column("seed");
  const lines = new Map();
  for (let i = 0; i < table.length; i++) {
    if (panelText !== null && roles.panel.text(i) !== panelText) continue;
    const y = value.numbers[i];
    const label = roles.keys
      .map((c) => words(c.text(i)))
      .filter(Boolean)
      .join(", ");
    const seed = seeds ? seeds.text(i) : "";
    if (!lines.has(label)) lines.set(label, new Map());
    const bySeed = lines.get(label);
    if (!bySeed.has(seed)) bySeed.set(seed, []);
    bySeed.get(seed).push([roles.clock.numbers[i], Number.isNaN(y) ? null : y]);
  }
  for (const bySeed of lines.values()) {
    for (const points of bySeed.values()) points.sort((a, b) => a[0] - b[0]);
  }
  return lines;
}

function meanOf(bySeed) {
  const at = new Map();
  for (const points of bySeed.values()) {
    for (const [x, y] of points) {
      if (y === null) continue;
      const sum = at.get(x) || [0, 0];
      at.set(x, [sum[0] + y, sum[1] + 1]);
    }
  }
  // Where a seed is missing the mean would be one of other seeds.
  return [...at]
    .filter(([, [, n]]) => n === bySeed.size)
    .map(([x, [total, n]]) => [x, total / n])
    .sort((a, b) => a[0] - b[0]);
}

function panelOf(title, lines, clock) {
  const box = el("div", {
    class: "plot curve",
    role: "img",
    "aria-label": `Curves of ${title} over ${clock}, one line per seed`,
  });
  const inks = [...lines.keys()].map((label, i) => {
    const direction = directionInk(`${label} ${lines.size === 1 ? title : ""}`);
    return direction === "var(--ink-plain)" ? `cycle-${i % CONTENT.cycle}` : direction.slice(6, -1);
  });
  // Two lines of one direction must still be told apart.
  const inksUsed = distinct(inks).length === inks.length ? inks : inks.map((_, i) => `cycle-${i % CONTENT.cycle}`);
  const legend = el(
    "p",
    { class: "legend" },
    [...lines.keys()].map((label, i) =>
      label
        ? el(
            "span",
            { class: "key" },
            el("span", { class: "stroke", style: { "background-color": `var(--${inksUsed[i]})` } }),
            quoted(label),
          )
        : null,
    ),
  );
  plots.add(box, () => {
    const traces = [];
    [...lines.values()].forEach((bySeed, i) => {
      const ink = colour(inksUsed[i]);
      const line = (points, width, opacity) =>
        traces.push({
          type: "scatter",
          mode: points.length > 1 ? "lines" : "markers",
          hoverinfo: width > 1 ? "x+y" : "skip",
          showlegend: false,
          x: points.map((p) => p[0]),
          y: points.map((p) => p[1]),
          line: { color: ink, width },
          marker: { color: ink },
          opacity,
        });
      if (bySeed.size > 1) for (const points of bySeed.values()) line(points, 1, 0.5);
      line(bySeed.size > 1 ? meanOf(bySeed) : [...bySeed.values()][0], 2.5, 1);
    });
    const layout = plotLayout(words(clock), "");
    Plotly.react(box, traces, { ...layout, height: 290, margin: { l: 56, r: 12, t: 30, b: 44 } }, PLOT_CONFIG);
  });
  return el("figure", {}, el("figcaption", { class: "panel-title" }, quoted(words(title))), legend, box);
}

function curves(run) {
  if (!run.curves || !run.curves.length) return null;
  const table = new Table(run.curves);
  const roles = rolesOf(table);
  if (!roles.clock || !roles.values.length) return null;
  const panels = roles.panel
    ? roles.panel.texts.flatMap((text) =>
        roles.values.map((v) => [roles.values.length > 1 ? `${text} ${v.name}` : text, linesOf(table, roles, v, text)]),
      )
    : roles.values.map((v) => [v.name, linesOf(table, roles, v, null)]);
  const seeds = table.column("seed");
  const n = seeds ? distinct([...(seeds.numeric ? seeds.numbers : seeds.codes)]).length : 1;
  const drawn = el(
    "div",
    { class: "panels" },
    panels.map(([title, lines]) => panelOf(title, lines, roles.clock.name)),
  );
  return section(
    "Curves",
    n > 1 ? `Thin lines are the ${n} seeds, thick ones their mean.` : null,
    panels.length > MANY_PANELS ? fold(`All ${panels.length} of them`, drawn) : drawn,
  );
}
