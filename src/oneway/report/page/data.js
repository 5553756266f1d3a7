// Tables as columns, and an audit's rows gathered into facts.

const CONTENT = JSON.parse(document.getElementById("data").textContent);
const DIRECTIONS = CONTENT.directions;
const CLASSES = CONTENT.classes;
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

// Letters without their marks, so that "Bjork" finds "Björk".
const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

class Column {
  constructor({ name, kind, values, codes }) {
    this.name = name;
    this.kind = kind;
    this.numeric = kind === "number" || kind === "integer";
    if (kind === "text") {
      this.texts = values;
      this.codes = Int32Array.from(codes);
    } else if (kind === "truth") {
      this.texts = ["no", "yes"];
      this.codes = Int32Array.from(values);
    } else {
      this.numbers = Float64Array.from(values, (x) => (x === null ? NaN : x));
    }
  }

  text(i) {
    if (this.numeric) return Number.isNaN(this.numbers[i]) ? "" : String(this.numbers[i]);
    return this.codes[i] < 0 ? "" : this.texts[this.codes[i]];
  }

  number(i) {
    return this.numeric ? this.numbers[i] : this.codes[i] < 0 ? NaN : this.codes[i];
  }

  // What rows are sorted by: a number that is smaller for what comes first; NaN comes last.
  get order() {
    if (this.numeric) return this.numbers;
    if (!this.ranks) {
      const sorted = this.texts.map((_, k) => k).sort((a, b) => collator.compare(this.texts[a], this.texts[b]));
      const rank = new Float64Array(this.texts.length);
      sorted.forEach((k, position) => {
        rank[k] = position;
      });
      this.ranks = Float64Array.from(this.codes, (code) => (code < 0 ? NaN : rank[code]));
    }
    return this.ranks;
  }

  // For every distinct text whether it holds the term.
  holding(term) {
    this.plain ??= this.texts.map(plain);
    return Uint8Array.from(this.plain, (text) => text.includes(term));
  }

  codeOf(text) {
    return this.texts.indexOf(text);
  }
}

// A text's dot in the colour of its class; a class that the palette does not know is grey.
const classInk = (name) => `var(--class-${name}, var(--class-neither))`;

class Table {
  constructor({ length, columns }) {
    this.length = length;
    this.columns = columns.map((column) => new Column(column));
    this.byName = new Map(this.columns.map((column) => [column.name, column]));
  }

  has(...names) {
    return names.every((name) => this.byName.has(name));
  }

  column(name) {
    return this.byName.get(name);
  }

  text(name, i) {
    return this.has(name) ? this.column(name).text(i) : "";
  }

  number(name, i) {
    return this.has(name) ? this.column(name).number(i) : NaN;
  }
}

// What tells facts apart: their number in the table, or their words where a table has none.
const keyColumns = (table) =>
  (table.has("fact") ? ["fact"] : ["subject", "relation", "object", "split"].filter((name) => table.has(name))).map(
    (name) => table.column(name),
  );

// A fact is asked in several directions and templates: these are its rows.
class Facts {
  constructor(table) {
    this.table = table;
    const keys = keyColumns(table).map((column) => column.codes || column.numbers);
    const seen = new Map();
    this.ofRow = new Int32Array(table.length);
    this.first = [];
    for (let i = 0; i < table.length; i++) {
      const key = keys.length === 1 ? keys[0][i] : keys.map((codes) => codes[i]).join(",");
      let fact = seen.get(key);
      if (fact === undefined) {
        fact = this.first.length;
        seen.set(key, fact);
        this.first.push(i);
      }
      this.ofRow[i] = fact;
    }
    this.length = this.first.length;
    this.means = new Map();
  }

  rowsOf(fact) {
    if (!this.rows) {
      this.rows = Array.from({ length: this.length }, () => []);
      this.ofRow.forEach((f, i) => this.rows[f].push(i));
    }
    return this.rows[fact];
  }

  // A measure in one direction, averaged over the fact's templates for the picture; NaN where it was not asked.
  mean(measure, direction) {
    const key = `${measure} ${direction}`;
    if (!this.means.has(key)) {
      const sum = new Float64Array(this.length);
      const n = new Float64Array(this.length);
      const asked = this.table.column("direction");
      const code = asked.codeOf(direction);
      const values = this.table.column(measure).numbers;
      for (let i = 0; i < this.table.length; i++) {
        if (asked.codes[i] !== code || Number.isNaN(values[i])) continue;
        sum[this.ofRow[i]] += values[i];
        n[this.ofRow[i]] += 1;
      }
      this.means.set(
        key,
        sum.map((total, fact) => (n[fact] ? total / n[fact] : NaN)),
      );
    }
    return this.means.get(key);
  }

  text(name, fact) {
    return this.table.text(name, this.first[fact]);
  }

  // Class → how many facts, over the facts of one split (all of them for null).
  classCounts(split) {
    const counts = new Map(CLASSES.map((name) => [name, 0]));
    for (let fact = 0; fact < this.length; fact++) {
      if (split !== null && this.text("split", fact) !== split) continue;
      const name = this.text("class", fact);
      if (name) counts.set(name, (counts.get(name) || 0) + 1);
    }
    return counts;
  }
}
