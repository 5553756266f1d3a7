"""The command as a process: exit statuses, where a fault stands, JSON and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
FACTS = ["--facts", str(EXAMPLES / "company.csv"), "--relations", str(EXAMPLES / "company.toml")]
SMALL = ["--layers", "1", "--width", "16", "--heads", "2"]


def oneway(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "oneway.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "checkpoint"
    done = oneway("train", *FACTS, "--out", str(out), "--steps", "5", *SMALL, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    return out


def test_audit_prints_one_json_object_and_writes_the_contract(model: Path, tmp_path: Path):
    done = oneway("audit", "--model", str(model), *FACTS, "--out", "found", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["study"] == "audit"
    assert shown["checkpoints"]["model.safetensors"]
    record = json.loads((tmp_path / "found" / "record.json").read_text(encoding="utf-8"))
    assert record["config"] == shown["config"]
    rows = pl.read_parquet(shown["tables"]["per_fact"])
    assert rows.height == 52 * 3
    contract = (
        "subject relation object direction template prompt answer logprob answer_tokens rank candidates"
    )
    assert {*contract.split(), "exact_match", "class"} <= set(rows.columns)
    assert Path(shown["report"]).stat().st_size > 100_000


def test_the_same_call_from_python_gives_the_same_rows(model: Path, tmp_path: Path):
    import oneway as package

    oneway("audit", "--model", str(model), *FACTS, "--out", "found", cwd=tmp_path)
    rows = package.audit(model, FACTS[1], relations=FACTS[3]).to_frame()
    saved = pl.read_parquet(tmp_path / "found" / "per_fact.parquet")
    same = ["prompt", "answer", "rank", "exact_match", "class"]
    assert rows.select(pl.col(same).cast(pl.String)).equals(saved.select(pl.col(same).cast(pl.String)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["audit", "--model", "nowhere/at/all", *FACTS], "nowhere/at/all"),
        (["augment", *FACTS, "--remedy", "masked-diffusion", "--out", "x"], "use masked-restoration"),
        (["audit", "--model", ".", *FACTS], "config.json"),
        (["audit", "--model", ".", "--facts", "missing.csv"], "missing.csv"),
        (["audit", "--model", "."], "--facts"),
        (["audit", "--model", ".", *FACTS, "--dtype", "float8"], "float8"),
        (["run", "nonsense"], "nonsense"),
        (["run", "reversal", "--recipe", "huge"], "huge"),
        (["train", *FACTS, "--out", "m", "--style", "lstm"], "lstm"),
        (["train", *FACTS, "--out", "m", "--width", "10", "--heads", "4"], "multiple"),
        (["report", "nothing-here", "--out", "page.html"], "nothing-here"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_wrong_input_ends_with_status_2_and_says_what(arguments: list[str], said: str, tmp_path: Path):
    done = oneway(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_every_bad_row_is_named_with_its_line(tmp_path: Path):
    (tmp_path / "bad.csv").write_text(
        "subject,relation,object\nA B,leads,\nC D,leads,P,Q\nE F,owns,G\n", encoding="utf-8"
    )
    done = oneway("train", "--facts", "bad.csv", "--relations", FACTS[3], "--out", "m", cwd=tmp_path)
    assert done.returncode == 2
    for line in (2, 3, 4):
        assert f"bad.csv:{line}" in done.stderr


def test_what_is_no_fault_in_a_file_is_said_on_standard_error(tmp_path: Path):
    (tmp_path / "f.csv").write_text("Subject;Relation;Object;Comment\nA B;leads;P;x\n;;;\n", encoding="utf-8")
    options = ["--facts", "f.csv", "--relations", FACTS[3], "--out", "m", "--style", "lstm"]
    done = oneway("train", *options, cwd=tmp_path)
    assert done.returncode == 2  # for the style
    notes = [line for line in done.stderr.splitlines() if line.startswith("oneway: note: ")]
    for said in (
        "separated by semicolons (f.csv)",
        "not read: comment;",
        "without content is skipped (f.csv:3)",
    ):
        assert sum(said in note for note in notes) == 1
    assert len(notes) == 3
    assert done.stdout == ""


def test_a_bare_table_is_answered_with_a_stub_to_fill_in(tmp_path: Path):
    (tmp_path / "bare.csv").write_text("subject,relation,object\nA B,leads,P\n", encoding="utf-8")
    done = oneway("audit", "--model", ".", "--facts", "bare.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert "[leads]" in done.stderr
    assert "forward" in done.stderr


def test_list_names_every_study_with_its_rules(tmp_path: Path):
    done = oneway("list", "--json", cwd=tmp_path)
    shown = json.loads(done.stdout)
    assert {"quick", "standard", "paper"} <= set(shown["reversal"]["recipes"])
    assert all(claim["rule"] and claim["source"] for study in shown.values() for claim in study["claims"])


def test_check_proves_a_checkpoint(model: Path, tmp_path: Path):
    done = oneway("check", "--model", str(model), "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 layers: proved in" in done.stdout
    shown = json.loads(
        oneway("check", "--model", str(model), "--device", "cpu", "--json", cwd=tmp_path).stdout
    )
    assert shown["holds"] is True
    assert shown["sites"]["z"]["shape"] == [1, 5, 2, 8]


def test_augment_leaves_out_what_an_audit_found_known_both_ways(model: Path, tmp_path: Path):
    oneway("audit", "--model", str(model), *FACTS, "--out", "found", cwd=tmp_path)
    rows = pl.read_parquet(tmp_path / "found" / "per_fact.parquet")
    known = rows["fact"].first()
    marked = pl.when(pl.col("fact") == known).then(pl.lit("both_ways")).otherwise(pl.lit("forward_only"))
    changed = rows.with_columns(marked.cast(rows.schema["class"]).alias("class"))
    changed.write_parquet(tmp_path / "found" / "per_fact.parquet")
    call = ("augment", *FACTS, "--remedy", "both-directions", "--out", "more.jsonl", "--json")
    done = oneway(*call, "--audit", "found", "--model", str(model), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["facts"] == 51
    assert "1 facts are known both ways already and left out" in shown["notes"]
    lines = (tmp_path / "more.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == sum(shown["lines"].values())
    assert shown["tokens"]["added"] > shown["words"]["added"]
    whole = json.loads(oneway(*call, cwd=tmp_path).stdout)
    assert (whole["facts"], whole["tokens"]) == (52, None)
