"""A record says where it comes from and survives being written."""

import hashlib
import json
import math

import pytest

from oneway.evidence import RunRecord, record, sha256


def example(**changes) -> RunRecord:
    fields = {
        "study": "audit",
        "run_id": "r1",
        "title": "Ünïcode 🦉 </script>",
        "asked": "which way?",
        "config": {"model": {"layers": 2}, "rate": 1e-3},
        "seeds": [0, 1],
        "summary": [{"relation": "", "exact_match": {"mean": None}}],
        "wall_seconds": 1.5,
    }
    return RunRecord(**{**fields, **changes})


def test_json_round_trip_keeps_every_field() -> None:
    written = example(claims=[{"id": "Z3"}], notes=["skipped: row 3"], data={"f.csv": "00"})
    assert RunRecord.from_json(written.to_json()) == written


def test_json_is_strict() -> None:
    assert "NaN" not in example().to_json()
    with pytest.raises(ValueError, match="Out of range"):
        example(config={"rate": math.nan}).to_json()


@pytest.mark.parametrize(
    ("text", "reason"),
    [("[]", "JSON object"), ("{}", "study"), ("{", "Expecting"), (None, "surprise")],
)
def test_what_is_not_a_record_is_refused_with_the_reason(text, reason) -> None:
    if text is None:
        text = json.dumps({**json.loads(example().to_json()), "surprise": 1})
    with pytest.raises(ValueError, match=reason):
        RunRecord.from_json(text)


def test_defaults_say_where_the_numbers_come_from() -> None:
    found = example()
    assert set(record.PACKAGES) <= set(found.packages)
    assert found.packages["numpy"].count(".") >= 1
    assert found.hardware["cores"] >= 1
    assert set(found.commit) == {"commit", "dirty"}


def test_a_wheel_inside_somebodys_repository_names_no_commit(tmp_path, monkeypatch) -> None:
    package = tmp_path / ".venv/lib/python3.11/site-packages/oneway/evidence"
    package.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(record, "__file__", str(package / "record.py"))
    assert record.source_commit() == {"commit": None, "dirty": None}


def test_hash_of_a_file_larger_than_one_read(tmp_path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "f").write_bytes(content)
    assert sha256(tmp_path / "f") == hashlib.sha256(content).hexdigest()
