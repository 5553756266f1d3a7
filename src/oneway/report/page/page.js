// The page of one run, from what was asked to where it comes from.

function factByFact(run, table, facts) {
  if (!table || !table.length || !table.has("subject", "relation", "object", "direction")) return null;
  const selection = new Selection(table, facts);
  const rows = new RowTable(selection, `${run.record.study}-${run.record.run_id}`);
  return section(
    "Fact by fact",
    "The filters act on the picture and on the table.",
    filterBar(selection),
    el("h3", {}, "Forward against reverse"),
    scatter(selection),
    el("h3", {}, "All rows"),
    rows.node(),
  );
}

function auditParts(run, table) {
  const facts = table && table.has("subject", "relation", "object", "direction") ? new Facts(table) : null;
  return [
    () => headline(run.record, facts),
    () => classes(facts),
    () => relationsTable(run.record),
    () => factByFact(run, table, facts),
  ];
}

const comparisonParts = (run, table) => [
  () => whatChanged(run.record),
  () => pairedDifferences(run.record),
  () => comparedFacts(run, table),
];

// A record from elsewhere may hold what no part of this page expects: the others are shown all the same.
function shown(part) {
  try {
    return part();
  } catch (error) {
    return el("section", {}, el("p", { class: "small" }, "A part of this record could not be shown: ", quoted(error)));
  }
}

function show(run) {
  plots.clear();
  const table = run.rows ? new Table(run.rows) : null;
  document.title = `${run.record.title || run.record.study} – oneway`;
  document
    .getElementById("main")
    .replaceChildren(
      ...[
        () => header(run.dissection ? { ...run.record, asked: run.dissection.asked || run.record.asked } : run.record),
        ...(run.dissection ? dissectionParts(run) : []),
        () => claims(run.record),
        () => figures(run),
        () => curves(run),
        ...(isComparison(table) ? comparisonParts : auditParts)(run, table),
        () => notes(run, table),
        () => provenance(run.record),
      ]
        .map(shown)
        .filter(Boolean),
    );
}

function start() {
  const bar = document.getElementById("runs");
  if (CONTENT.runs.length > 1) {
    bar.hidden = false;
    bar.append(
      choice(
        "Run",
        CONTENT.runs.map((run, i) => [String(i), `${run.record.title || run.record.study} · ${run.record.run_id}`]),
        "0",
        (i) => show(CONTENT.runs[Number(i)]),
      ),
    );
  }
  show(CONTENT.runs[0]);
  for (const query of ["(prefers-color-scheme: dark)", "print"]) {
    matchMedia(query).addEventListener("change", (event) => plots.redraw(query === "print" && event.matches));
  }
}

start();
