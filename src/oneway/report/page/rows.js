// All rows: sorted by any column, filtered, in pages; downloaded as they stand.

const SHOWN = [
  "subject",
  "relation",
  "object",
  "split",
  "direction",
  "exact_match",
  "rank",
  "logprob_per_token",
  "margin",
  "class",
];
const SIZES = [25, 50, 100, 250];
const HEADS = {
  exact_match: "right",
  logprob: "log-probability",
  logprob_per_token: "log-prob. per token",
  random_logprob: "random log-prob.",
  answer_tokens: "answer tokens",
  right_answers: "right answers",
  source: "where in the file",
  forward_logprob_difference: "forward, nats more",
  reverse_logprob_difference: "reverse, nats more",
  in_context_logprob_difference: "in context, nats more",
};

const headOf = (name) => entry(HEADS, name) || words(name);

// A spreadsheet must read a name as a name, not as a formula: at the start of a cell, after marks that it may
// pass over, and after what separates cells in other countries.
const FORMULA = /^(?=[\t\r\n]|[\s\p{Cf}\p{Cc}]*[=+\-@＝＋－＠])|(?<=[;\t])(?=[\s\p{Cf}]*[=+\-@＝＋－＠])/gu;

function csvCell(column, i) {
  const text = column.text(i);
  const safe = column.numeric ? text : text.replace(FORMULA, "'");
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function csv(table, rows) {
  const lines = [table.columns.map((c) => csvCell({ numeric: false, text: () => c.name }, 0)).join(",")];
  for (const i of rows) lines.push(table.columns.map((c) => csvCell(c, i)).join(","));
  return `\ufeff${lines.join("\r\n")}\r\n`; // the mark tells spreadsheets that this is UTF-8
}

function download(name, type, content) {
  const link = el("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function cell(column, i) {
  if (column.kind === "truth") {
    const x = column.codes[i];
    return el("td", { class: "truth" }, x < 0 ? "–" : el("span", { class: x ? "yes" : "no" }, x ? "✓ yes" : "✗ no"));
  }
  if (column.numeric)
    return el(
      "td",
      { class: "numeric" },
      column.kind === "integer" ? number(column.numbers[i]) : decimals(column.numbers[i]),
    );
  const text = column.text(i);
  if (column.name === "direction")
    return el("td", { class: "label" }, el("span", { class: `ink-${text}` }, quoted(words(text))));
  if (column.name === "change") return el("td", { class: "label" }, changeLabel(text));
  if (column.name === "class" || column.name === "class_before" || column.name === "class_after") {
    return el(
      "td",
      { class: "label" },
      text ? [el("span", { class: "dot", style: { "background-color": classInk(text) } }), quoted(words(text))] : "–",
    );
  }
  return el("td", {}, quoted(column.name === "split" || column.name === "relation" ? words(text) : text.trim()));
}

class RowTable {
  constructor(selection, name, shown = SHOWN) {
    this.selection = selection;
    this.table = selection.table;
    this.name = name;
    this.shown = new Set(shown.filter((n) => this.table.has(n)));
    this.sort = { name: null, down: false };
    this.page = 0;
    this.size = SIZES[0];
    this.open = new Set();
    this.head = el("thead", {});
    this.body = el("tbody", {});
    this.pager = el("div", { class: "pager" });
    selection.listen(() => {
      this.page = 0;
      this.arrange();
    });
    this.arrange();
  }

  arrange() {
    const order = Uint32Array.from(this.selection.rows);
    if (this.sort.name !== null) {
      const keys = this.table.column(this.sort.name).order;
      const sign = this.sort.down ? -1 : 1;
      order.sort((a, b) => {
        const [x, y] = [keys[a], keys[b]];
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a - b;
        return sign * (x - y) || a - b;
      });
    }
    this.order = order;
    this.draw();
  }

  get columns() {
    return this.table.columns.filter((c) => this.shown.has(c.name));
  }

  sortBy(name) {
    if (this.sort.name !== name) this.sort = { name, down: false };
    else if (!this.sort.down) this.sort.down = true;
    else this.sort = { name: null, down: false };
    this.page = 0;
    this.arrange();
  }

  draw() {
    const columns = this.columns;
    this.head.replaceChildren(
      el(
        "tr",
        {},
        el("th", { class: "opener" }, el("span", { class: "unseen" }, "Details")),
        columns.map((c) => {
          const active = this.sort.name === c.name;
          const button = el(
            "button",
            {
              type: "button",
              "data-column": c.name,
              onclick: () => {
                this.sortBy(c.name);
                [...this.head.querySelectorAll("button")].find((b) => b.dataset.column === c.name)?.focus();
              },
            },
            quoted(headOf(c.name)),
            el("span", { class: "arrow", "aria-hidden": "true" }, active ? (this.sort.down ? "↓" : "↑") : ""),
          );
          return el(
            "th",
            {
              scope: "col",
              class: c.numeric ? "numeric" : null,
              "aria-sort": active ? (this.sort.down ? "descending" : "ascending") : "none",
            },
            button,
          );
        }),
      ),
    );
    const start = this.page * this.size;
    this.body.replaceChildren(...[...this.order.slice(start, start + this.size)].flatMap((i) => this.row(i, columns)));
    if (!this.order.length)
      this.body.append(el("tr", {}, el("td", { colspan: columns.length + 1, class: "empty" }, "No row matches.")));
    this.drawPager();
  }

  row(i, columns) {
    const opened = this.open.has(i);
    const toggle = () => {
      if (opened) this.open.delete(i);
      else this.open.add(i);
      this.draw();
    };
    const button = el(
      "button",
      {
        type: "button",
        class: "plus",
        "aria-expanded": String(opened),
        "aria-label": "All columns of this row",
        onclick: () => {
          toggle();
          this.body.querySelector(`[data-row="${i}"] .plus`)?.focus();
        },
      },
      opened ? "−" : "+",
    );
    const line = el(
      "tr",
      { "data-row": i },
      el("td", { class: "opener" }, button),
      columns.map((c) => cell(c, i)),
    );
    if (!opened) return [line];
    const all = this.table.columns.flatMap((c) => [
      el("dt", {}, quoted(headOf(c.name))),
      el("dd", {}, c.numeric ? number(c.numbers[i], 7) : quoted(c.text(i) || "–")),
    ]);
    return [
      line,
      el("tr", { class: "opened" }, el("td", { colspan: columns.length + 1 }, el("dl", { class: "all-columns" }, all))),
    ];
  }

  drawPager() {
    const pages = Math.max(1, Math.ceil(this.order.length / this.size));
    const go = (page, label, text) =>
      el(
        "button",
        {
          type: "button",
          "aria-label": label,
          disabled: page < 0 || page >= pages || page === this.page,
          onclick: () => {
            this.page = page;
            this.draw();
          },
        },
        text,
      );
    const from = this.order.length ? this.page * this.size + 1 : 0;
    const to = Math.min(this.order.length, (this.page + 1) * this.size);
    this.pager.replaceChildren(
      go(0, "First page", "«"),
      go(this.page - 1, "Previous page", "‹"),
      el("span", { class: "pages" }, `${whole.format(from)}–${whole.format(to)} of ${whole.format(this.order.length)}`),
      go(this.page + 1, "Next page", "›"),
      go(pages - 1, "Last page", "»"),
      picker(
        "Rows",
        SIZES.map((n) => [String(n), String(n)]),
        String(this.size),
        (n) => {
          this.size = Number(n);
          this.page = 0;
          this.draw();
        },
      ),
    );
  }

  columnMenu() {
    const boxes = this.table.columns.map((c) => {
      const box = el("input", {
        type: "checkbox",
        onchange: () => {
          if (box.checked) this.shown.add(c.name);
          else this.shown.delete(c.name);
          this.draw();
        },
      });
      box.checked = this.shown.has(c.name);
      return el("label", {}, box, " ", quoted(headOf(c.name)));
    });
    return el("details", { class: "menu" }, el("summary", {}, "Columns"), el("div", { class: "menu-body" }, boxes));
  }

  node() {
    const save = el(
      "button",
      {
        type: "button",
        class: "download",
        onclick: () => download(`${this.name}.csv`, "text/csv;charset=utf-8", csv(this.table, this.order)),
      },
      "Download these rows (CSV)",
    );
    return el(
      "div",
      { class: "row-table" },
      el("div", { class: "table-tools" }, this.columnMenu(), save),
      el(
        "div",
        { class: "scroll rows", tabindex: "0", role: "region", "aria-label": "All rows" },
        el("table", { class: "rows" }, this.head, this.body),
      ),
      this.pager,
    );
  }
}
