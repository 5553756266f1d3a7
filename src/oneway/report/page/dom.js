"use strict";

// Elements and numbers. Text of a file becomes a text node here and nothing else: no markup is ever built from it.

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") Object.entries(value).forEach(([k, v]) => node.style.setProperty(k, v));
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// A text of a file: its own direction of writing must not turn the words around it.
const quoted = (text) => el("bdi", {}, String(text));

// A word of a file as the key of a table of ours: "constructor" is no entry of any object.
const entry = (table, key) => (Object.hasOwn(table, key) ? table[key] : undefined);

const words = (name) => String(name).replaceAll("_", " ");

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const colour = (variable) => getComputedStyle(document.documentElement).getPropertyValue(`--${variable}`).trim();

const whole = new Intl.NumberFormat("en-US");

const count = (n, one, many) => `${whole.format(n)} ${n === 1 ? one : many || one + "s"}`;

const signed = (text) => text.replace(/^-/, "\u2212").replace("e-", "e\u2212");

function number(x, digits = 3) {
  if (x === null || x === undefined || Number.isNaN(x)) return "–";
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size >= 1e6 || size < 1e-4) return signed(x.toExponential(digits - 1));
  return signed(String(Number(x.toPrecision(Math.max(digits, Math.ceil(Math.log10(size) + 1e-9))))));
}

// In a column, points stand under points.
const decimals = (x) => (Number.isNaN(x) ? "–" : Math.abs(x) >= 1e5 ? number(x) : signed(x.toFixed(3)));

// Of 1,000 facts a tenth of a percent is one: more digits would say more than was measured.
function percent(x) {
  if (x === null || x === undefined || Number.isNaN(x)) return "–";
  const hundred = 100 * x;
  const size = Math.abs(hundred);
  if (size > 99.9 && size < 100) return hundred < 0 ? "<\u221299.9%" : ">99.9%";
  if (size === 0 || size === 100) return signed(`${hundred}%`);
  if (size < 1) return signed(`${Number(hundred.toPrecision(2))}%`);
  return signed(`${hundred.toFixed(size < 9.95 || size > 99 ? 1 : 0)}%`);
}

const isShare = (unit) => ["probability", "proportion", "share", "fraction", "accuracy"].includes(unit);

const amount = (x, unit) => (isShare(unit) ? percent(x) : number(x));

function interval(e) {
  if (e.low === null || e.high === null) return "no interval";
  const text = (x) => (isShare(e.unit) ? percent(x).replace("%", "") : number(x));
  return `${text(e.low)} to ${text(e.high)}${isShare(e.unit) ? "%" : ""}`;
}

const unitText = (unit) => (unit && !isShare(unit) ? ` ${unit}` : "");

// A bar or a dot with its interval and a tick where chance lies, on the scale [from, to].
function gauge(e, { from, to, colour: ink, chance = null, kind = "bar" }) {
  const at = (x) => 1 + 98 * Math.min(1, Math.max(0, (x - from) / (to - from || 1)));
  const parts = [svg("line", { x1: 1, x2: 99, y1: 8, y2: 8, class: "gauge-line" })];
  if (Number.isFinite(e.mean)) {
    const middle = at(e.mean);
    if (kind === "bar") {
      parts.push(svg("rect", { x: 1, y: 3, width: Math.max(0, middle - 1), height: 10, fill: ink, opacity: 0.85 }));
    }
    if (Number.isFinite(e.low) && Number.isFinite(e.high)) {
      parts.push(svg("line", { x1: at(e.low), x2: at(e.high), y1: 8, y2: 8, class: "gauge-interval" }));
    }
    if (kind === "dot")
      parts.push(svg("line", { x1: middle, x2: middle, y1: 2, y2: 14, class: "gauge-mean", stroke: ink }));
  }
  if (Number.isFinite(chance)) {
    parts.push(svg("line", { x1: at(chance), x2: at(chance), y1: 0, y2: 16, class: "gauge-chance" }));
  }
  return svg(
    "svg",
    { class: "gauge", viewBox: "0 0 100 16", preserveAspectRatio: "none", "aria-hidden": "true" },
    ...parts,
  );
}

const section = (title, lead, ...children) =>
  el("section", {}, el("h2", {}, title), lead ? el("p", { class: "lead" }, lead) : null, ...children);

function fold(title, ...children) {
  return el("details", { class: "fold" }, el("summary", {}, title), ...children);
}

// Choice of one of a few: radio buttons that look like one.
let groups = 0;

function choice(label, options, chosen, onchange) {
  const group = `choice-${groups++}`;
  const buttons = options.map(([value, text]) => {
    const input = el("input", { type: "radio", name: group, value, onchange: () => onchange(value) });
    input.checked = value === chosen;
    return el("label", {}, input, el("span", {}, quoted(text)));
  });
  return el("fieldset", { class: "choice" }, el("legend", {}, label), buttons);
}

function picker(label, options, chosen, onchange) {
  const select = el(
    "select",
    { onchange: () => onchange(select.value) },
    options.map(([value, text]) => {
      const option = el("option", { value, dir: "auto" }, text);
      option.selected = value === chosen;
      return option;
    }),
  );
  return el("label", { class: "picker" }, el("span", {}, label), select);
}

function later(wait, act) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...given), wait);
  };
}
