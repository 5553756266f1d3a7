// The picture of a circuit: positions across, layers up. Where things stand was laid out where the page was made.

const KIND_INK = { head: "cycle-0", MLP: "cycle-1" };
const THICKEST = 9;
const TOKEN_FITS = 13; // characters below a column

const kindInk = (kind) => `var(--${entry(KIND_INK, kind) || "cycle-5"})`;
const nodeName = (node) => (node.kind === "head" ? `${node.layer}.${node.head}` : `MLP ${node.layer}`);
const nodeWords = (node) =>
  node.kind === "head" ? `Head ${node.head} of layer ${node.layer}` : `MLP of layer ${node.layer}`;
const clipped = (text, most) => ([...text].length > most ? `${[...text].slice(0, most - 1).join("")}…` : text);
const effectText = (row, unit) =>
  `${number(row.effect)} ${unit}` +
  (Number.isFinite(row.low) && Number.isFinite(row.high)
    ? `, 95% interval ${number(row.low)} to ${number(row.high)}`
    : "");

// A table's rows as objects without a prototype: a column of a file may have any name.
function rowsOf(packed) {
  const table = new Table(packed);
  return Array.from({ length: table.length }, (_, i) => {
    const row = Object.create(null);
    for (const c of table.columns) row[c.name] = c.numeric ? c.numbers[i] : c.text(i);
    return row;
  });
}

// The card beside the pointer, one for the page.
function pointerCard() {
  const card = el("div", { class: "card", hidden: true });
  const told = (node, label, lines) => {
    const show = (event) => {
      card.replaceChildren(
        el("p", { class: "card-title" }, label),
        ...lines.map((line) => el("p", { class: "small" }, line)),
      );
      const box = node.getBoundingClientRect();
      place(card, event.clientX === undefined ? { clientX: box.right, clientY: box.bottom } : event);
    };
    node.setAttribute("tabindex", "0");
    node.setAttribute("role", "img");
    node.addEventListener("mousemove", show);
    node.addEventListener("focus", show);
    for (const gone of ["mouseleave", "blur"]) node.addEventListener(gone, () => (card.hidden = true));
    return node;
  };
  return { card, told };
}

// A smooth way from one point to another: out to the side between columns, in a bow along one.
function way(from, to, size, bow) {
  const [x1, y1] = from;
  const [x2, y2] = to;
  if (bow) {
    const out = Math.min(150, 26 + Math.abs(y1 - y2) * 0.28);
    return {
      path: `M${x1 + 27},${y1} C${x1 + 27 + out},${y1 - 6} ${x2 + 27 + out},${y2 + 6} ${x2 + 31 + size},${y2}`,
      angle: Math.PI,
    };
  }
  const angle = Math.atan2(y2 - y1, x2 - x1);
  return { path: `M${x1},${y1} L${x2 - size * Math.cos(angle)},${y2 - size * Math.sin(angle)}`, angle };
}

function tip([x, y], angle, size) {
  const at = (turn, far) => `${x - far * Math.cos(angle + turn)},${y - far * Math.sin(angle + turn)}`;
  return `M${x},${y} L${at(0.42, size)} L${at(-0.42, size)} Z`;
}

// The point at which a line to the middle of a box meets its edge.
function edge([cx, cy], [x, y], [width, height]) {
  const [dx, dy] = [x - cx, y - cy];
  const scale = Math.min(width / 2 / Math.abs(dx || 1e-9), height / 2 / Math.abs(dy || 1e-9));
  return [cx + dx * Math.min(1, scale), cy + dy * Math.min(1, scale)];
}

function arrow(layout, from, to, boxes, share, negative) {
  const thickness = Math.max(0.8, THICKEST * Math.sqrt(share));
  const size = 7 + thickness * 0.9;
  const bow = boxes.from && boxes.to && Math.abs(from[0] - to[0]) < 1;
  const end = bow ? [to[0] + layout.node[0] / 2 + 2, to[1]] : edge(to, from, [layout.node[0] + 4, layout.node[1] + 4]);
  const start = bow || !boxes.from ? from : edge(from, to, layout.node);
  const drawn = way(start, bow ? to : end, size - 2, bow);
  return svg(
    "g",
    { class: negative ? "flow negative" : "flow" },
    svg("path", { d: drawn.path, "stroke-width": thickness, class: "flow-line" }),
    svg("path", { d: tip(end, bow ? drawn.angle : drawn.angle, size), class: "flow-tip" }),
    svg("path", { d: drawn.path, class: "flow-hit" }),
  );
}

function ground(circuit, layout, told) {
  const parts = [];
  layout.bands.forEach(([top, bottom], layer) => {
    parts.push(
      svg("rect", { x: 0, y: top + 1, width: layout.width, height: Math.max(1, bottom - top - 2), class: "band" }),
    );
    if (bottom - top > layout.node[1])
      parts.push(svg("text", { x: 8, y: (top + bottom) / 2 + 4, class: "layer-name" }, `layer ${layer}`));
  });
  layout.feet.forEach(([x, foot], i) => {
    const text = String(circuit.tokens[i] ?? "").trim();
    parts.push(svg("line", { x1: x, x2: x, y1: layout.bands.at(-1)[0], y2: foot, class: "stream" }));
    const label = svg(
      "g",
      { class: "place", "aria-label": `${circuit.places[i]}: ${text}` },
      svg("text", { x, y: foot + 20, class: "place-name" }, clipped(String(circuit.places[i]), 18)),
      svg("text", { x, y: foot + 40, class: "place-token" }, clipped(text, TOKEN_FITS)),
    );
    parts.push(
      told(
        label,
        quoted(circuit.places[i]),
        ["In one prompt: ", quoted(text)].map((t) => el("span", {}, t)),
      ),
    );
  });
  return parts;
}

function box(layout, [x, y], text, ink, strength, negative) {
  const [width, height] = layout.node;
  return svg(
    "g",
    { class: negative ? "part negative" : "part" },
    svg("rect", { x: x - width / 2, y: y - height / 2, width, height, rx: 5, class: "part-ground" }),
    svg("rect", {
      x: x - width / 2,
      y: y - height / 2,
      width,
      height,
      rx: 5,
      style: `fill:${ink};fill-opacity:${strength};stroke:${ink}`,
    }),
    svg("text", { x, y: y + 4.5, class: "part-name" }, text),
  );
}

// `nodes` and `arrows` as rows; what is drawn strongest is the largest effect of each.
function circuitDrawing(circuit, nodes, arrows, label) {
  const layout = circuit.layout;
  const { card, told } = pointerCard();
  const points = new Map(circuit.places.map((name, i) => [name, layout.feet[i]]));
  nodes.forEach((node, i) => points.set(node.id, layout.nodes[i]));
  points.set("answer", layout.answer);
  const places = new Set(circuit.places);
  const largest = (rows) => Math.max(1e-12, ...rows.map((row) => Math.abs(row.effect)).filter(Number.isFinite));
  const strongest = largest(nodes);
  const unitOf = (row) => row.unit || circuit.unit; // thickness compares what is of one kind
  const most = new Map(
    distinct(arrows.map(unitOf)).map((unit) => [unit, largest(arrows.filter((row) => unitOf(row) === unit))]),
  );
  const flows = arrows.map((row) => {
    const boxes = { from: !places.has(row.source), to: true };
    const share = Math.abs(row.effect) / most.get(unitOf(row));
    const drawn = arrow(layout, points.get(row.source), points.get(row.target), boxes, share, row.effect < 0);
    drawn.setAttribute("aria-label", `${row.what}: ${effectText(row, unitOf(row))}`);
    return told(drawn, quoted(row.what), [effectText(row, unitOf(row))]);
  });
  const parts = nodes.map((node, i) => {
    const strength = Number.isFinite(node.effect) ? 0.08 + 0.4 * (Math.abs(node.effect) / strongest) : 0;
    const drawn = box(layout, layout.nodes[i], nodeName(node), kindInk(node.kind), strength, node.effect < 0);
    drawn.setAttribute("aria-label", `${nodeWords(node)}: ${effectText(node, circuit.unit)}`);
    return told(drawn, nodeWords(node), [`Effect ${effectText(node, circuit.unit)}`, quoted(node.role)]);
  });
  const answer = box(layout, layout.answer, "answer", "var(--ink-plain)", 0, false);
  const drawing = svg(
    "svg",
    {
      class: "circuit",
      viewBox: `0 0 ${layout.width} ${layout.height}`,
      width: layout.width,
      height: layout.height,
      "aria-label": label,
    },
    ...ground(circuit, layout, told),
    ...flows,
    ...parts,
    answer,
  );
  return el("div", {}, el("div", { class: "scroll drawing" }, drawing), card);
}

const circuitLegend = (...further) =>
  el(
    "p",
    { class: "legend" },
    el(
      "span",
      { class: "key" },
      el("span", { class: "swatch", style: { "--ink": kindInk("head") } }),
      "head, as layer.head",
    ),
    el("span", { class: "key" }, el("span", { class: "swatch", style: { "--ink": kindInk("MLP") } }), "MLP"),
    further.map((text) => el("span", { class: "key" }, text)),
  );

const ENDS = { source: "from", target: "to" };
const renamed = (packed, names) => ({
  ...packed,
  columns: packed.columns.map((c) => ({ ...c, name: entry(names, c.name) || c.name })),
});

function circuitPicture(picture) {
  const { circuit } = picture;
  const [nodes, arrows] = [rowsOf(circuit.nodes), rowsOf(circuit.arrows)];
  return section(
    "The circuit",
    "From the tokens below to the answer above: what carries the name's parts together, where the answer is looked up, " +
      "and what moves it to where it is said. Point at anything to read what it is.",
    circuitLegend(
      "the darker, the larger its effect",
      "the thicker an arrow, the larger its effect (its square root)",
      "dotted: against the right answer",
    ),
    circuitDrawing(circuit, nodes, arrows, `Circuit of ${picture.title}`),
    el(
      "ul",
      { class: "notes" },
      circuit.notes.map((note) => el("li", { dir: "auto" }, String(note))),
    ),
    fold(
      "The same as tables",
      el("div", {}, numbersTable(circuit.nodes, "nodes"), numbersTable(renamed(circuit.arrows, ENDS), "arrows")),
    ),
  );
}
