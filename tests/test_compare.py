"""`oneway compare` as a process: what it writes, prints and refuses."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from oneway.report import Run, save_run, write_page
from oneway.report.figures import bars


def oneway(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "oneway.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def runs(make_audit, tmp_path_factory) -> Path:
    """Two audits, of which the second has forgotten every fourth fact; one that is damaged."""
    root = tmp_path_factory.mktemp("runs")
    audit = make_audit(parents=40, athletes=0)
    forgotten = audit.rows.with_columns(exact_match=pl.col("exact_match") & (pl.col("fact") % 4 > 0))
    for name, rows in (
        ("old", audit.rows),
        ("new", forgotten),
        ("damaged", forgotten.drop("rank", "direction")),
    ):
        record = replace(audit.record, config={"model": f"models/{name}"}, run_id=name)
        save_run(Run(record=record, rows=rows), bars(audit.record.summary), root / name)
    return root


def test_a_person_sees_what_changed(runs: Path):
    done = oneway("compare", "old", "new", "--out", "seen", cwd=runs)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "new after old: 40 facts compared"
    assert "10 lost, 30 kept" in lines[1]
    assert sum(line.startswith("lost: ") for line in lines) == 6  # five facts, and how many more
    assert "lost: 5 more in the report" in lines
    assert (runs / "seen" / "report.html").stat().st_size > 100_000
    page = oneway("report", "old", "seen", "--out", "both.html", cwd=runs)
    assert page.returncode == 0, page.stderr


def test_a_program_reads_one_json_object(runs: Path):
    done = oneway("compare", "old", "new", "--json", cwd=runs)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert Path(shown["directory"]).parent == runs / "runs" / "compare"
    rows = pl.read_parquet(shown["tables"]["per_fact"])
    assert rows["change"].value_counts(sort=True).rows() == [("kept", 30), ("lost", 10)]
    head = next(s for s in shown["summary"] if not (s["direction"] or s["split"] or s["relation"]))
    assert (head["changes"]["lost"], head["facts"]) == (10, 40)
    assert all(Path(file).is_file() for file in shown["figures"].values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["old", "nowhere"], "nowhere holds no finished run"),
        (["old", "damaged"], "no column direction, rank"),
        (["old", "seen-by-nobody", "--out", "x"], "seen-by-nobody"),
        (["old", "new", "--out", "old"], "already holds a finished run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_compared_ends_with_status_2_and_leaves_nothing(runs: Path, arguments, said):
    done = oneway("compare", *arguments, cwd=runs)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (runs / "x").exists()


def test_damaged_files_are_named(runs: Path, make_audit):
    import oneway as package

    for name, file, content in (("half", "per_fact.parquet", b"PAR1"), ("cut", "record.json", b'{"study":')):
        (runs / name).mkdir()
        for kept in ("per_fact.parquet", "record.json"):
            (runs / name / kept).write_bytes((runs / "new" / kept).read_bytes())
        (runs / name / file).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}.{file}"):
            package.compare(runs / "old", runs / name)


def test_results_in_memory_compare_as_their_folders_do(runs: Path, tmp_path: Path):
    import oneway as package

    from_folders = package.compare(runs / "old", str(runs / "new"))
    tables = {name: pl.read_parquet(runs / name / "per_fact.parquet") for name in ("old", "new")}
    sides = [
        Run(record=replace(from_folders.record, config={"model": name}), rows=rows)
        for name, rows in tables.items()
    ]
    in_memory = package.compare(*sides)
    assert in_memory.to_frame().equals(from_folders.to_frame())
    assert in_memory.record.data == from_folders.record.data  # the hashes of the same tables
    write_page([Run(record=in_memory.record, rows=in_memory.rows)], tmp_path / "page.html")
