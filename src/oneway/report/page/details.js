// Where the numbers come from: everything the record holds, folded away.

function tree(value) {
  if (value === null || value === undefined) return el("span", { class: "faint" }, "–");
  if (Array.isArray(value)) {
    if (!value.length) return el("span", { class: "faint" }, "none");
    if (value.every((item) => item === null || typeof item !== "object")) return quoted(value.join(", "));
    return el(
      "ol",
      { class: "tree" },
      value.map((item) => el("li", {}, tree(item))),
    );
  }
  if (typeof value === "object") {
    const entries = Object.entries(value);
    if (!entries.length) return el("span", { class: "faint" }, "none");
    return el(
      "dl",
      { class: "tree" },
      entries.map(([key, inner]) => [el("dt", {}, quoted(words(key))), el("dd", {}, tree(inner))]),
    );
  }
  return quoted(value);
}

// Questions that could not be scored, one by one.
function skippedTable(run) {
  if (!run.skipped || !run.skipped.length) return null;
  const table = new Table(run.skipped);
  const rows = new RowTable(
    new Selection(table, null),
    `${run.record.run_id}-skipped`,
    table.columns.map((c) => c.name),
  );
  return fold(`${count(table.length, "question")} not scored, with reasons`, rows.node());
}

function notes(run, table) {
  const { record } = run;
  const flags = table && table.has("flag") ? table.column("flag") : null;
  const flagged = new Map();
  if (flags && flags.kind === "text") {
    for (let i = 0; i < table.length; i++)
      if (flags.text(i)) flagged.set(flags.text(i), (flagged.get(flags.text(i)) || 0) + 1);
  }
  const skipped = skippedTable(run);
  // The record may have said so already.
  for (const flag of [...flagged.keys()])
    if (record.notes.some((note) => String(note).includes(flag))) flagged.delete(flag);
  if (!record.notes.length && !flagged.size && !skipped) return null;
  const list = record.notes.length
    ? el(
        "ul",
        { class: "notes" },
        record.notes.map((note) => el("li", { dir: "auto" }, String(note))),
      )
    : null;
  return section(
    "Notes, and what was left out",
    null,
    record.notes.length > 12 ? fold(count(record.notes.length, "note"), list) : list,
    flagged.size
      ? el(
          "ul",
          { class: "notes" },
          [...flagged].map(([flag, n]) => el("li", {}, `${count(n, "row")} flagged: `, quoted(flag))),
        )
      : null,
    skipped,
  );
}

function provenance(record) {
  const parts = [
    ["Configuration", record.config],
    ["Seeds", record.seeds],
    ["Data (SHA-256)", record.data],
    ["Checkpoints (SHA-256)", record.checkpoints],
    ["Software", record.packages],
    ["Commit", record.commit],
    ["Hardware", record.hardware],
    ["Files beside the record", { ...record.tables, ...record.figures }],
  ];
  const save = el(
    "button",
    { type: "button", onclick: () => download("record.json", "application/json", JSON.stringify(record, null, 2)) },
    "Download record.json",
  );
  return section(
    "How to trace these numbers",
    null,
    el(
      "dl",
      { class: "terms" },
      el("dt", {}, "Run"),
      el("dd", {}, quoted(record.run_id)),
      el("dt", {}, "Created"),
      el("dd", {}, quoted(record.created)),
      el("dt", {}, "Wall time"),
      el("dd", {}, `${number(record.wall_seconds, 4)} s`),
    ),
    parts.map(([title, value]) => fold(title, tree(value))),
    save,
  );
}
