// Which rows are on view: one state for the picture and the table below it.

const FILTERS = [
  { name: "relation", label: "Relation", any: "all relations" },
  { name: "split", label: "Split", any: "all splits" },
  { name: "change", label: "Change", any: "all changes" },
  { name: "class_before", label: "Class before", any: "all classes" },
  { name: "class_after", label: "Class after", any: "all classes" },
  { name: "direction", label: "Direction", any: "all directions" },
  { name: "class", label: "Class", any: "all classes" },
  { name: "exact_match", label: "Whole answer right", any: "yes or no" },
];

class Selection {
  constructor(table, facts) {
    this.table = table;
    this.facts = facts;
    this.codes = new Map(); // column name → code of the chosen text
    this.search = "";
    this.fact = null;
    this.listeners = [];
    this.update();
  }

  listen(act) {
    this.listeners.push(act);
  }

  set(change) {
    change(this);
    this.update();
    this.listeners.forEach((act) => act());
  }

  update() {
    const tests = [...this.codes].map(([name, code]) => {
      const codes = this.table.column(name).codes;
      return (i) => codes[i] === code;
    });
    const terms = plain(this.search).split(/\s+/).filter(Boolean);
    for (const term of terms) tests.push(this.holding(term));
    const kept = [];
    for (let i = 0; i < this.table.length; i++) if (tests.every((test) => test(i))) kept.push(i);
    this.matching = Uint32Array.from(kept);
    this.rows = this.fact === null ? this.matching : this.matching.filter((i) => this.facts.ofRow[i] === this.fact);
  }

  // Every text is looked at once, however many rows share it.
  holding(term) {
    const columns = this.table.columns.filter((c) => c.kind === "text").map((c) => [c.codes, c.holding(term)]);
    return (i) => columns.some(([codes, hit]) => codes[i] >= 0 && hit[codes[i]] === 1);
  }

  // Facts of which at least one row passes the filters. A fact picked in the picture keeps the others there.
  visibleFacts() {
    const visible = new Uint8Array(this.facts.length);
    for (const i of this.matching) visible[this.facts.ofRow[i]] = 1;
    return visible;
  }
}

function filterBar(selection) {
  const { table, facts } = selection;
  const search = el("input", {
    type: "search",
    placeholder: "name, prompt, answer …",
    spellcheck: "false",
    dir: "auto",
    oninput: later(120, () =>
      selection.set((s) => {
        s.search = search.value;
      }),
    ),
  });
  const selects = [];
  const pick = ({ name, label, any }) => {
    const column = table.column(name);
    if (!column || column.numeric || column.texts.length < 2) return null;
    const sorted = column.texts.map((text, code) => [
      String(code),
      name === "exact_match" ? text : words(text) || "none",
    ]);
    if (column.kind === "text") sorted.sort((a, b) => collator.compare(a[1], b[1]));
    const node = picker(label, [["", any], ...sorted], "", (value) =>
      selection.set((s) => {
        if (value === "") s.codes.delete(name);
        else s.codes.set(name, Number(value));
      }),
    );
    selects.push(node.querySelector("select"));
    return node;
  };
  const only = el("span", { class: "only", hidden: true });
  const told = el("p", { class: "told", role: "status" });
  const reset = el(
    "button",
    {
      type: "button",
      class: "quiet",
      onclick: () => {
        search.value = "";
        selects.forEach((select) => {
          select.value = "";
        });
        selection.set((s) => {
          s.codes.clear();
          s.search = "";
          s.fact = null;
        });
      },
    },
    "Show all",
  );
  const tell = () => {
    const visible = distinct([...selection.rows].map((i) => facts.ofRow[i])).length;
    const all = selection.rows.length === table.length;
    // A table with a row per fact says its facts; one with several rows per fact says both.
    if (table.length === facts.length)
      told.textContent = all
        ? `All ${count(facts.length, "fact")}`
        : `${count(visible, "fact")} out of ${whole.format(facts.length)}`;
    else
      told.textContent = all
      ? `All ${count(table.length, "row")} of ${count(facts.length, "fact")}`
      : `${count(selection.rows.length, "row")} of ${count(visible, "fact")}, out of ${count(table.length, "row")} of ${count(facts.length, "fact")}`;
    reset.hidden = all;
    only.hidden = selection.fact === null;
    if (selection.fact !== null) {
      only.replaceChildren(
        "Only ",
        quoted(facts.text("subject", selection.fact)),
        " · ",
        quoted(facts.text("object", selection.fact)),
      );
    }
  };
  selection.listen(tell);
  tell();
  return el(
    "div",
    { class: "filters" },
    el("label", { class: "picker wide" }, el("span", {}, "Search"), search),
    FILTERS.map(pick),
    el("div", { class: "filters-end" }, told, only, reset),
  );
}
