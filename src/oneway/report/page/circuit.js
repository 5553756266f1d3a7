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

// The way of an arrow, whose tip of a size is drawn apart, and the direction in which it ends.
function way([x1, y1], [x2, y2], size, shape, room) {
  if (shape === "left" || shape === "right") {
    const side = shape === "left" ? -1 : 1;
    const out = side * Math.min(150, 26 + Math.abs(y1 - y2) * 0.28, room / 0.75);
    const edge = Math.max(side * x1, side * x2) * side + out; // of both ends the outer one
    return {
      path: `M${x1},${y1} C${edge},${y1 - 6} ${edge},${y2 + 6} ${x2 + side * size},${y2}`,
      angle: side > 0 ? Math.PI : 0,
    };
  }
  if (shape === "rise") {
    return { path: `M${x1},${y1} C${x1},${y1 - 18} ${x2},${y1 - 4} ${x2},${y2 + size}`, angle: -Math.PI / 2 };
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

// Whether a part stands on the straight line between two others.
function blocked(layout, from, to) {
  const [width, height] = layout.node;
  const between = layout.nodes.filter((at) => ![from, to].some((end) => end[0] === at[0] && end[1] === at[1]));
  return between.some(([x, y]) =>
    Array.from({ length: 39 }, (_, k) => (k + 1) / 40).some(
      (t) =>
        Math.abs(from[0] + t * (to[0] - from[0]) - x) < width / 2 &&
        Math.abs(from[1] + t * (to[1] - from[1]) - y) < height / 2,
    ),
  );
}

// Past what stands between: from a token to what is near it from below; between MLPs of a column on the right of it;
// from heads to the answer on the left of it.
function shapeOf(layout, from, to, { ofToken, toAnswer }) {
  const [across, up] = [Math.abs(from[0] - to[0]), Math.abs(from[1] - to[1])];
  if (across < 1) return !ofToken || blocked(layout, from, to) ? "right" : "straight";
  if (ofToken) return up < across / 2 ? "rise" : "straight";
  return toAnswer && blocked(layout, from, to) ? "left" : "straight";
}

function arrow(layout, from, to, kind, share, negative) {
  const [width, height] = layout.node;
  const thickness = Math.max(0.8, THICKEST * share);
  const size = 7 + thickness * 0.9;
  const shape = shapeOf(layout, from, to, kind);
  const beside = (side) => [
    kind.ofToken ? from : [from[0] + (side * width) / 2, from[1]],
    [to[0] + side * (width / 2 + 2), to[1]],
  ];
  const ends = {
    left: beside(-1),
    right: beside(1),
    rise: [from, [to[0], to[1] + height / 2 + 2]],
    straight: [kind.ofToken ? from : edge(from, to, layout.node), edge(to, from, [width + 4, height + 4])],
  }[shape];
  const room = shape === "right" ? layout.width - ends[0][0] - 6 : Infinity;
  const drawn = way(...ends, size - 2, shape, room);
  return svg(
    "g",
    { class: negative ? "flow negative" : "flow" },
    svg("path", { d: drawn.path, "stroke-width": thickness, class: "flow-line" }),
    svg("path", { d: tip(ends[1], drawn.angle, size), class: "flow-tip" }),
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
  const most = largest(arrows.filter((row) => !row.share));
  const said = (row) => (row.share ? `${percent(row.effect)} of its attention` : effectText(row, circuit.unit));
  const flows = arrows.map((row) => {
    // Shares of attention as they are; effects span orders of magnitude.
    const share = row.share ? row.effect / 2 : Math.sqrt(Math.abs(row.effect) / most);
    const drawn = arrow(
      layout,
      points.get(row.source),
      points.get(row.target),
      { ofToken: places.has(row.source), toAnswer: row.target === "answer" },
      share,
      row.effect < 0,
    );
    drawn.setAttribute("aria-label", `${row.what}: ${said(row)}`);
    return told(drawn, quoted(row.what), [said(row)]);
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
