"""A run's folder: names stay inside, writes are whole, errors say where and why."""

import re

import polars as pl
import pytest

from oneway.evidence import RunRecord
from oneway.evidence.atomic import WriteError
from oneway.runs.directory import RunDirectory, RunError, new_run_id


def record() -> RunRecord:
    return RunRecord(study="s", run_id="r", title="t", asked="a", config={})


def test_run_ids_are_names_that_do_not_repeat() -> None:
    ids = {new_run_id() for _ in range(200)}
    assert len(ids) == 200
    assert all(re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", name) for name in ids)


def test_layout(tmp_path) -> None:
    assert RunDirectory.under(tmp_path, "reversal", "r1").path == tmp_path / "reversal" / "r1"
    made = RunDirectory.under(tmp_path, "reversal")
    assert made.path.parent == tmp_path / "reversal"
    assert not made.path.exists()  # nothing is made before the first write


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a\\b", "a b", "a\n", "-x", "x" * 200])
def test_a_study_or_run_id_that_is_no_plain_name_is_refused(tmp_path, name) -> None:
    with pytest.raises(RunError, match="cannot name a run"):
        RunDirectory.under(tmp_path, name, "r1")
    with pytest.raises(RunError, match="cannot name a run"):
        RunDirectory.under(tmp_path, "s", name)


@pytest.mark.parametrize("name", ["", ".", "/etc/passwd", "../x", "a/../../x", "a\\b", "c:x", "a\x00b"])
def test_no_file_name_leads_out(tmp_path, name) -> None:
    with pytest.raises(RunError, match="does not name a file inside"):
        RunDirectory(tmp_path / "run").write_text(name, "x")
    assert list(tmp_path.iterdir()) == []


def test_no_link_leads_out(tmp_path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / "figures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="link that leaves"):
        RunDirectory(tmp_path / "run").write_text("figures/f.svg", "x")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_every_kind_of_file_is_read_back(tmp_path) -> None:
    directory = RunDirectory(tmp_path / "run")
    rows = pl.DataFrame({"name": ["Zoë", "</script>"], "x": [1.5, None]})
    assert directory.write_bytes("figures/a.png", b"\x89").read_bytes() == b"\x89"
    assert directory.write_text("a.txt", "é\r\n").read_bytes() == b"\xc3\xa9\r\n"
    assert directory.write_json("a.json", {"a": [1, "é"]}).read_text(encoding="utf-8").startswith("{")
    directory.write_parquet("rows.parquet", rows)
    assert directory.read_table("rows.parquet").equals(rows)
    assert not directory.finished
    directory.write_record(record())
    assert directory.finished
    assert directory.read_record().run_id == "r"


def test_what_cannot_be_read_is_named(tmp_path) -> None:
    directory = RunDirectory(tmp_path)
    with pytest.raises(RunError, match="holds no finished run"):
        directory.read_record()
    directory.write_text("record.json", "{}")
    with pytest.raises(RunError, match=r"record\.json: not a oneway record"):
        directory.read_record()
    directory.write_text("rows.parquet", "no parquet")
    for name in ("rows.parquet", "missing.parquet"):
        with pytest.raises(RunError, match=name):
            directory.read_table(name)


def test_a_folder_that_cannot_be_written_is_named(tmp_path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(WriteError, match=r"cannot write .*f/run/a\.txt"):
        RunDirectory(tmp_path / "f" / "run").write_text("a.txt", "x")
