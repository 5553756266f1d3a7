// Charts of a section's table: bars, lines, points, heat maps, by the columns that the chart names.

const LONG_LABEL = 12;
const LABEL_FITS = 44;

const axisTitle = (given, column) => words(given || column || "");
const chartInk = (i) => `cycle-${i % CONTENT.cycle}`;
const finite = (x) => (Number.isFinite(x) ? x : null);

// The rows of each text of a column, in the order in which they come; all rows under "" without a column.
function grouped(table, name, rows) {
  const groups = new Map();
  for (const i of rows) {
    const key = name ? table.text(name, i) : "";
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(i);
  }
  return groups;
}

function intervalOf(table, chart, rows) {
  if (!chart.low || !chart.high) return null;
  const reach = (name, sign) =>
    rows.map((i) => {
      const far = sign * (table.number(name, i) - table.number(chart.y, i));
      return Number.isFinite(far) ? Math.max(0, far) : 0;
    });
  return {
    type: "data",
    symmetric: false,
    array: reach(chart.high, 1),
    arrayminus: reach(chart.low, -1),
    thickness: 1.2,
    width: 0,
    color: colour("ink-plain"),
  };
}

const hoverOf = (table, chart, rows) =>
  rows.map((i) => {
    const parts = [chart.name, chart.series, chart.x]
      .filter(Boolean)
      .map((name) => `${words(name)}: ${clipped(table.text(name, i), 120)}`);
    const low = chart.low ? table.number(chart.low, i) : NaN;
    const high = chart.high ? table.number(chart.high, i) : NaN;
    const value = chart.value || chart.y;
    const range = Number.isFinite(low) && Number.isFinite(high) ? ` (${number(low)} to ${number(high)})` : "";
    return [...parts, `${words(value)}: ${number(table.number(value, i))}${range}`].map(plotText).join("<br>");
  });

// Categories stand at whole numbers: what a file calls them is a label and nothing else.
function categories(table, name, rows) {
  const labels = distinct(rows.map((i) => table.text(name, i)));
  const at = new Map(labels.map((label, k) => [label, k]));
  return {
    labels,
    at: (i) => at.get(table.text(name, i)),
    ticks: { tickvals: labels.map((_, k) => k), ticktext: labels.map((l) => plotText(clipped(l, LABEL_FITS))) },
  };
}

function barChart(table, chart, rows, inks) {
  const along = categories(table, chart.x, rows);
  const flat = along.labels.some((label) => label.length > LONG_LABEL);
  const groups = [...grouped(table, chart.series, rows)];
  const traces = groups.map(([name, own]) => {
    const [at, far] = [own.map(along.at), own.map((i) => finite(table.number(chart.y, i)))];
    const error = intervalOf(table, chart, own);
    return {
      type: "bar",
      orientation: flat ? "h" : "v",
      x: flat ? far : at,
      y: flat ? at : far,
      [flat ? "error_x" : "error_y"]: error || {},
      marker: { color: colour(inks.get(name)) },
      hoverinfo: "text",
      hovertext: hoverOf(table, chart, own),
      textposition: "none",
    };
  });
  const [xTitle, yTitle] = [axisTitle(chart.x_title, chart.x), axisTitle(chart.y_title, chart.y)];
  const layout = plotLayout(flat ? yTitle : xTitle, flat ? "" : yTitle);
  Object.assign(flat ? layout.yaxis : layout.xaxis, along.ticks, { showgrid: false, zeroline: false });
  if (flat) layout.yaxis.autorange = "reversed";
  const height = flat ? 70 + along.labels.length * Math.max(24, 15 * groups.length) : 300;
  return { traces, layout: { ...layout, barmode: "group", bargap: 0.3 }, height, across: flat ? "x" : "y" };
}

function lineChart(table, chart, rows, inks) {
  const traces = [];
  for (const [name, own] of grouped(table, chart.series, rows)) {
    const ink = colour(inks.get(name));
    const order = [...own].sort((a, b) => table.number(chart.x, a) - table.number(chart.x, b));
    const x = order.map((i) => table.number(chart.x, i));
    const line = { type: "scatter", mode: "lines", line: { width: 0 }, hoverinfo: "skip", x };
    if (chart.low && chart.high) {
      const bound = (column) => order.map((i) => finite(table.number(column, i)));
      traces.push(
        { ...line, y: bound(chart.low) },
        { ...line, y: bound(chart.high), fill: "tonexty", fillcolor: `${ink}26` },
      );
    }
    traces.push({
      ...line,
      mode: x.length > 40 ? "lines" : "lines+markers",
      y: order.map((i) => finite(table.number(chart.y, i))),
      line: { width: 2, color: ink },
      marker: { color: ink, size: 5 },
      hoverinfo: "text",
      hovertext: hoverOf(table, chart, order),
    });
  }
  const layout = plotLayout(axisTitle(chart.x_title, chart.x), axisTitle(chart.y_title, chart.y));
  // Between two layers there is no half.
  if (table.column(chart.x).kind === "integer" && distinct(rows.map((i) => table.number(chart.x, i))).length <= 20)
    layout.xaxis.dtick = 1;
  return { traces, layout, height: 300, across: "y" };
}

function pointChart(table, chart, rows, inks) {
  const numeric = table.column(chart.x).numeric;
  const along = numeric ? null : categories(table, chart.x, rows);
  const traces = [...grouped(table, chart.series, rows)].map(([name, own]) => ({
    type: own.length > MANY && hasWebGL ? "scattergl" : "scatter",
    mode: "markers",
    x: own.map((i) => (numeric ? finite(table.number(chart.x, i)) : along.at(i))),
    y: own.map((i) => finite(table.number(chart.y, i))),
    error_y: intervalOf(table, chart, own) || {},
    marker: { color: colour(inks.get(name)), size: own.length > 300 ? 5 : 7, opacity: own.length > 300 ? 0.6 : 0.85 },
    hoverinfo: "text",
    hovertext: hoverOf(table, chart, own),
  }));
  const layout = plotLayout(axisTitle(chart.x_title, chart.x), axisTitle(chart.y_title, chart.y));
  if (along) Object.assign(layout.xaxis, along.ticks, { zeroline: false, range: [-0.5, along.labels.length - 0.5] });
  return { traces, layout, height: 340, across: "y" };
}

function heatChart(table, chart, rows) {
  const [across, up] = [categories(table, chart.x, rows), categories(table, chart.y, rows)];
  const blank = () => up.labels.map(() => across.labels.map(() => null));
  const [z, text] = [blank(), blank()];
  const hover = hoverOf(table, { ...chart, name: chart.y, series: null, low: null, high: null }, rows);
  rows.forEach((i, k) => {
    z[up.at(i)][across.at(i)] = finite(table.number(chart.value, i));
    text[up.at(i)][across.at(i)] = hover[k];
  });
  const values = z.flat().filter((x) => x !== null);
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const size = Math.max(-low, high) || 1;
  const scale =
    low < 0
      ? [
          [0, colour("cycle-1")],
          [0.5, colour("sheet")],
          [1, colour("cycle-0")],
        ]
      : [
          [0, colour("sheet")],
          [1, colour("cycle-0")],
        ];
  const trace = {
    type: "heatmap",
    x: across.labels.map((_, k) => k),
    y: up.labels.map((_, k) => k),
    z,
    zmin: low < 0 ? -size : 0,
    zmax: size,
    colorscale: scale,
    xgap: 1,
    ygap: 1,
    hoverinfo: "text",
    hovertext: text,
    colorbar: { thickness: 10, outlinewidth: 0, title: { text: plotText(axisTitle("", chart.value)), side: "right" } },
  };
  const layout = plotLayout(axisTitle(chart.x_title, chart.x), axisTitle(chart.y_title, chart.y));
  Object.assign(layout.xaxis, across.ticks, { showgrid: false, zeroline: false });
  Object.assign(layout.yaxis, up.ticks, { showgrid: false, zeroline: false });
  return { traces: [trace], layout, height: Math.min(720, 130 + up.labels.length * 24), across: null };
}

const CHARTS = { bars: barChart, lines: lineChart, points: pointChart, heat: heatChart };

function levelAt(chart, across) {
  if (!Number.isFinite(chart.reference) || !across) return [];
  const here =
    across === "y"
      ? { yref: "y", y0: chart.reference, y1: chart.reference, xref: "paper", x0: 0, x1: 1 }
      : { xref: "x", x0: chart.reference, x1: chart.reference, yref: "paper", y0: 0, y1: 1 };
  return [{ type: "line", ...here, line: { dash: "dot", width: 1.5, color: colour("ink-soft") } }];
}

// What side by side is compared has one scale: the range of all panels' values, with a little air.
function sharedRange(table, chart) {
  if (!chart.panel || chart.kind === "heat") return null;
  const values = [chart.y, chart.low, chart.high].filter(Boolean).flatMap((name) => [...table.column(name).numbers]);
  const known = [...values.filter(Number.isFinite), ...(chart.kind === "bars" ? [0] : [])];
  if (!known.length) return null;
  const [low, high] = [known.reduce((a, b) => Math.min(a, b)), known.reduce((a, b) => Math.max(a, b))];
  const air = 0.05 * (high - low || 1);
  return [low < 0 || chart.kind !== "bars" ? low - air : 0, high + air];
}

function chartPanel(table, chart, rows, inks, title) {
  const draw = entry(CHARTS, chart.kind);
  const plot = el("div", { class: "plot chart", role: "img", "aria-label": `Chart of ${title}` });
  plots.add(plot, () => {
    const { traces, layout, height, across } = draw(table, chart, rows, inks);
    plot.style.height = `${height}px`;
    const range = sharedRange(table, chart);
    if (range) layout[`${across}axis`].range = range;
    const margin = { l: 62, r: 14, t: 30, b: 48 };
    Plotly.react(plot, traces, { ...layout, height, margin, shapes: levelAt(chart, across) }, PLOT_CONFIG);
  });
  return plot;
}

function chartOf(table, chart, title) {
  if (!entry(CHARTS, chart.kind)) throw new Error(`no chart is called ${chart.kind}`);
  const all = Array.from({ length: table.length }, (_, i) => i);
  const names = [...grouped(table, chart.series, all).keys()];
  const inks = new Map(names.map((name, i) => [name, chartInk(i)]));
  const keys = chart.series
    ? names.map((name) =>
        el(
          "span",
          { class: "key" },
          el("span", { class: "stroke", style: { "background-color": `var(--${inks.get(name)})` } }),
          quoted(words(name)),
        ),
      )
    : [];
  const level = Number.isFinite(chart.reference)
    ? el("span", { class: "key" }, `dotted: ${number(chart.reference)}`)
    : null;
  const panels = [...grouped(table, chart.panel, all)];
  return el(
    "div",
    {},
    keys.length || level ? el("p", { class: "legend" }, keys, level) : null,
    el(
      "div",
      { class: panels.length > 1 ? "panels" : "" },
      panels.map(([name, rows]) =>
        el(
          "figure",
          {},
          chart.panel ? el("figcaption", { class: "panel-title" }, quoted(words(name))) : null,
          chartPanel(table, chart, rows, inks, title),
        ),
      ),
    ),
  );
}
