"""Encodings, delimiters, JSON in its layouts, Parquet: the same facts whatever holds them, or a named problem."""

import csv
import gzip
import io
import json
import os
import random
import unicodedata
import zipfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneway.facts import Fact, FactErrors, FactTable, read_facts

TOML = '[plays]\nforward = ["{subject} plays {object}"]\n'
ROW = {"subject": "René", "relation": "plays", "object": "שחמט 😀"}


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "relations.toml"
    path.write_text(TOML, encoding="utf-8")
    return path


def names(table: FactTable) -> list[tuple[str, str]]:
    return [(fact.subject, fact.object) for fact in table]


def complaints(path: Path, data: bytes, toml: Path) -> list[tuple[int, str]]:
    path.write_bytes(data)
    with pytest.raises(FactErrors) as error:
        read_facts(path, toml)
    return [(problem.line, problem.reason) for problem in error.value.problems]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("suffix", [".csv", ".txt", ".tsv", ".jsonl", ".json"])
def test_any_encoding_with_any_line_end(
    tmp_path: Path, toml: Path, encoding: str, line_end: str, suffix: str
) -> None:
    path = tmp_path / f"f{suffix}"
    if suffix == ".json":
        lines = json.dumps([ROW], ensure_ascii=False, indent=1).splitlines()
    elif suffix == ".jsonl":
        lines = ["", json.dumps(ROW, ensure_ascii=False)]
    else:
        delimiter = "," if suffix == ".csv" else "\t"
        lines = [delimiter.join(ROW), delimiter.join(ROW.values())]
    path.write_bytes(line_end.join([*lines, ""]).encode(encoding))
    table = read_facts(path, toml)
    assert names(table) == [("René", "שחמט 😀")]
    assert table.facts[0].source == f"{path.name}:2"
    assert any("UTF-16" in note for note in table.notes) == (encoding == "utf-16")


def test_windows_1252_is_named_with_the_word_it_would_be(tmp_path: Path, toml: Path) -> None:
    text = "subject,relation,object\na,plays,b\nRené Müller,plays,c\nd,plays,“e”\n"
    found = complaints(tmp_path / "f.csv", text.encode("cp1252"), toml)
    assert found == [
        (3, "not UTF-8 text; it looks like Windows-1252: 'René'; save the file as UTF-8"),
        (4, "not UTF-8 text; it looks like Windows-1252: '“e”'; save the file as UTF-8"),
    ]
    # 0x81 is nothing in Windows-1252.
    (found_json,) = complaints(tmp_path / "f.json", b'[\n{"subject": "x\x81"}]', toml)
    assert found_json == (2, "not UTF-8 text (the byte 0x81); save the file as UTF-8")


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return data.getvalue()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json"])
@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (zipped(), "Excel workbook (.xlsx)"),
        (gzip.compress(b"subject,relation,object\n"), "gzip"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(64), "(.xls)"),
        (b"PAR1" + bytes(64), "Parquet"),
        (b"%PDF-1.7\n", "PDF"),
        (bytes(range(32)) * 20, "zero bytes"),
        ("subject".encode("utf-16-le"), "UTF-16 without its mark"),
        ("subject".encode("utf-32"), "UTF-32"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_text_is_named(tmp_path: Path, toml: Path, suffix: str, data: bytes, kind: str) -> None:
    ((line, reason),) = complaints(tmp_path / f"f{suffix}", data, toml)
    assert line == 1
    assert kind in reason


def test_utf_16_that_breaks_off_is_named(tmp_path: Path, toml: Path) -> None:
    data = "subject,relation,object\na,plays,b\n".encode("utf-16") + b"\x00\xd8x"
    ((line, reason),) = complaints(tmp_path / "f.csv", data, toml)
    assert "damaged UTF-16" in reason
    assert line <= 3


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("subject;relation;object\nRené;plays;a, b\n", "separated by semicolons"),
        ("sep=;\nsubject;relation;object\nRené;plays;a, b\n", "separated by semicolons"),
        ("subject\trelation\tobject\nRené\tplays\ta, b\n", "separated by tabs"),
        (' Subject ,RELATION,object\nRené,plays,"a, b"\n', None),
        ('subject,relation,object\n,,\n , ,\nRené,plays,"a, b"\n,,\n', "3 times: a row without content"),
        (',subject,relation,object,\n0,René,plays,"a, b",\n', "a column without a name"),
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path: Path, toml: Path, text: str, note: str | None) -> None:
    path = tmp_path / "f.csv"
    path.write_text(text, encoding="utf-8")
    table = read_facts(path, toml)
    assert names(table) == [("René", "a, b")]
    line = text.splitlines().index(next(line for line in text.splitlines() if "René" in line)) + 1
    assert table.facts[0].source == f"f.csv:{line}"
    assert [note is not None and note in said for said in table.notes] == [True] * (note is not None)


def test_quotes_that_never_close_and_line_breaks_in_names(tmp_path: Path, toml: Path) -> None:
    many = b"x" * 1000 + b",plays,y\n"
    found = complaints(tmp_path / "f.csv", b'subject,relation,object\n"a,plays,b\n' + many * 200, toml)
    assert found[0][0] == 2
    assert "more than 131,072 characters; a quote may be opened and never closed" in found[0][1]
    found = complaints(tmp_path / "g.csv", b'subject,relation,object\n"a\r\nb",plays,c\nd,plays,"e\n', toml)
    assert [line for line, _ in found] == [2, 4]
    assert "a line break (U+000D); a name is on one line" in found[0][1]
    assert "a quote is opened and never closed" in found[1][1]


def test_other_names_of_the_subject(tmp_path: Path, toml: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("subject,relation,object,subject_aliases\nAnn,plays,go,Annie|A. \nBob,plays,go,\n")
    table = read_facts(path, toml)
    assert table.facts[0] == Fact("Ann", "plays", "go", source="f.csv:2", subject_aliases=("Annie", "A."))
    assert table.subjects_of["go", "plays"] == ("Ann", "Annie", "A.", "Bob")
    path = tmp_path / "f.jsonl"
    rows = [
        {"subject": "Ann", "relation": "plays", "object": "go", "subject_aliases": ["Annie", "A."]},
        {"subject": "Bob", "relation": "plays", "object": "go", "subject_aliases": None, "split": None},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert read_facts(path, toml).subjects_of == table.subjects_of


def test_json_lists_in_any_layout_have_their_lines(tmp_path: Path, toml: Path) -> None:
    path = tmp_path / "f.json"
    rows = [{"subject": f"s{i}", "relation": "plays", "object": "[{\n"[:1]} for i in range(5)]
    for indent, expected in ((None, [1] * 5), (2, [2, 7, 12, 17, 22])):
        path.write_text(json.dumps(rows, indent=indent))
        assert [int(fact.source.rpartition(":")[2]) for fact in read_facts(path, toml)] == expected


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('[{"subject": "a",\n "relation": }]', 2, "not JSON: Expecting value"),
        ('[\n{"subject": "a", "relation": "plays", "object": "b"}\n{}]', 3, "a comma or ] is expected"),
        ('[{"subject": "a", "relation": "plays", "object": "b"}] x', 1, "more follows the list"),
        ('[{"subject": "a", "relation": "plays", "object": "b"},\n3]', 2, "a JSON object is expected, not 3"),
        ('[{"subject": "a", "subject": "b", "relation": "plays", "object": "b"}]', 1, "stands twice"),
        ('[{"subject": "a", "relation": "plays", "object": "b"}', 1, "a comma or ] is expected"),
        ('{"subject": "a"}\n{"subject": "b"}', 2, "JSON lines are named .jsonl"),
        ('"text"', 1, "a JSON list of objects"),
        ("[" * 100_000, 1, "not JSON"),
        ("", 1, "not JSON"),
    ],
)
def test_broken_json(tmp_path: Path, toml: Path, text: str, line: int, reason: str) -> None:
    ((found, said),) = complaints(tmp_path / "f.json", text.encode(), toml)
    assert (found, reason in said) == (line, True), said


def test_parquet_with_lists_categories_and_nulls(tmp_path: Path, toml: Path) -> None:
    path = tmp_path / "f.parquet"
    frame = pl.DataFrame(
        {
            "Subject": ["René", "Ann", "Bob"],
            "relation": pl.Series(["plays"] * 3, dtype=pl.Categorical),
            "object": ["go", "שחמט", "go"],
            "aliases": [["weiqi", "baduk"], None, []],
            "split": ["train", None, "test"],
            "note": [1, 2, 3],
        }
    )
    frame.write_parquet(path)
    table = read_facts(path, toml)
    assert table.facts == (
        Fact("René", "plays", "go", "train", ("weiqi", "baduk"), "f.parquet:1"),
        Fact("Ann", "plays", "שחמט", "", (), "f.parquet:2"),
        Fact("Bob", "plays", "go", "test", (), "f.parquet:3"),
    )
    assert any("not read: note" in said for said in table.notes)
    frame.with_columns(aliases=pl.Series(["weiqi|baduk", "", None])).write_parquet(path)
    assert [fact.aliases for fact in read_facts(path, toml)] == [("weiqi", "baduk"), (), ()]
    frame.with_columns(object=pl.Series(["go", None, " "]), split=pl.Series([1, 2, 3])).write_parquet(path)
    found = complaints(path, path.read_bytes(), toml)
    assert [line for line, _ in found] == [1, 2, 3]
    assert "split must be a text in quotes, not 1" in found[0][1]


def test_parquet_in_several_batches_keeps_rows_and_order(
    tmp_path: Path, toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oneway.facts.formats.parquet._BATCH", 7)
    path = tmp_path / "f.parquet"
    subjects = [f"s{i}" for i in range(30)]
    columns = {"subject": subjects, "relation": ["plays"] * 30, "object": ["go"] * 30}
    pl.DataFrame(columns).write_parquet(path, row_group_size=4)
    table = read_facts(path, toml)
    assert [(fact.subject, fact.source) for fact in table] == [
        (subject, f"f.parquet:{i}") for i, subject in enumerate(subjects, start=1)
    ]


def test_damaged_parquet_is_named(tmp_path: Path, toml: Path) -> None:
    path = tmp_path / "f.parquet"
    pl.DataFrame({"subject": ["a"], "relation": ["plays"], "object": ["b"]}).write_parquet(path)
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], data[:-8], b"subject,relation,object\na,plays,b\n", b""):
        ((line, reason),) = complaints(path, damaged, toml)
        assert line == 1
        assert "not a Parquet file that can be read" in reason
    pl.DataFrame({"subject": ["a"], "Subject ": ["b"]}).write_parquet(path)
    assert complaints(path, path.read_bytes(), toml) == [(1, "the column 'subject' stands twice")]
    pl.DataFrame({"subject": ["a"], "object": ["b"]}).write_parquet(path)
    ((line, reason),) = complaints(path, path.read_bytes(), toml)
    assert reason.startswith("missing column relation;")


def test_no_damage_to_parquet_gets_past_the_reader(
    tmp_path: Path, toml: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "f.parquet"
    rows = {"subject": [f"s{i}" for i in range(50)], "relation": ["plays"] * 50, "object": ["go"] * 50}
    pl.DataFrame(rows).write_parquet(path)
    data, rng, wrong = path.read_bytes(), random.Random(0), 0
    for _ in range(150):
        damaged = bytearray(data)
        damaged[rng.randrange(4, len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            assert len(read_facts(path, toml)) == 50
        except FactErrors:
            wrong += 1
    assert wrong > 30
    # The library panics over some of these and would print a trace.
    assert capfd.readouterr().err == ""


cells = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp"))).filter(
    lambda text: text == text.strip() and text != "" and not set(text) & {"\ufeff", "\ufffd"}
)


def normal(pair: tuple[str, str]) -> tuple[str, ...]:
    return tuple(unicodedata.normalize("NFC", name) for name in pair)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=6, unique_by=normal))
@settings(max_examples=40, deadline=None)
def test_any_names_survive_every_container_and_encoding(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("round")
    toml = folder / "r.toml"
    toml.write_text(TOML)
    rows = [{"subject": subject, "relation": "plays", "object": object} for subject, object in pairs]
    pl.DataFrame(rows).write_parquet(folder / "f.parquet")
    (folder / "f.json").write_text(json.dumps(rows), encoding="utf-8")
    for encoding in ("utf-8", "utf-16"):
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
        (folder / f"{encoding}.txt").write_bytes(text.getvalue().encode(encoding))
        lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        (folder / f"{encoding}.jsonl").write_bytes(lines.encode(encoding))
    for path in folder.iterdir():
        if path != toml:
            assert names(read_facts(path, toml)) == pairs


def test_keys_and_file_names_that_cannot_be_printed_are_written_as_escapes(
    tmp_path: Path, toml: Path
) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.jsonl")
    row = {"subject": "a", "relation": "plays", "object": "b"}
    path.write_text(json.dumps(row | {"\ud800": 1, "\x1b[2J": 2, "n" * 100: 3}))
    table = read_facts(path, toml)
    assert table.facts[0].source == "caf\\udce9.jsonl:1"
    (note,) = table.notes
    assert note.encode()
    assert r"not read: '\ud800', '\x1b[2J', 'nnn" in note
    path.write_text(json.dumps(row | {"object": "\ud800"}))
    with pytest.raises(FactErrors) as error:
        read_facts(path, toml)
    assert str(error.value).encode()


def test_half_of_a_surrogate_pair_in_a_template_is_named(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    request = {"prompt": "{} \ud800", "relation_id": "P1", "target_true": {"str": "b"}, "subject": "a"}
    path.write_text(json.dumps([{"requested_rewrite": request}]))
    with pytest.raises(FactErrors, match="damaged text") as error:
        read_facts(path)
    assert str(error.value).encode()
