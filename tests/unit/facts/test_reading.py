import csv
import json
import tomllib
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneway.facts import Fact, FactErrors, RelationsMissing, read_facts, read_relations, relations_stub

TOML = """\
# templates
[plays]
forward = ["{subject} plays {object}"]
reverse = ["{object} is played by {subject}"]

["mother of"]
forward = [
    "{subject} is the mother of {object}",
]
one_to_one = true
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "relations.toml"
    path.write_text(TOML, encoding="utf-8")
    return path


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def complaints(path: Path, toml: Path | None) -> list[tuple[int, str]]:
    with pytest.raises(FactErrors) as error:
        read_facts(path, toml)
    assert {problem.file for problem in error.value.problems} == {str(path)}
    return [(problem.line, problem.reason) for problem in error.value.problems]


def test_csv_with_quotes_bom_blank_lines_and_windows_line_ends(tmp_path: Path, toml: Path) -> None:
    path = write(
        tmp_path / "f.csv",
        "\ufeffsubject,relation,object,split,aliases\r\n"
        '" Ruth, Babe ",plays,baseball,train,ball|the game\r\n'
        "\r\n"
        '"Renée ""R"" {x}",mother of,Šárka,,\r\n',
    )
    assert read_facts(path, toml).facts == (
        Fact("Ruth, Babe", "plays", "baseball", "train", ("ball", "the game"), "f.csv:2"),
        Fact('Renée "R" {x}', "mother of", "Šárka", "", (), "f.csv:4"),
    )


def test_tsv_and_jsonl_say_the_same(tmp_path: Path, toml: Path) -> None:
    tsv = write(tmp_path / "f.tsv", "object\tsubject\trelation\taliases\nb\ta, c\tplays\tx|y\n")
    jsonl = write(
        tmp_path / "f.jsonl",
        '\n{"subject": "a, c", "relation": "plays", "object": "b", "aliases": ["x", "y"]}\n',
    )
    expected = Fact("a, c", "plays", "b", "", ("x", "y"))
    (from_tsv,), (from_jsonl,) = read_facts(tsv, toml).facts, read_facts(jsonl, toml).facts
    assert (from_tsv.source, from_jsonl.source) == ("f.tsv:2", "f.jsonl:2")
    for fact in (from_tsv, from_jsonl):
        assert (fact.subject, fact.relation, fact.object, fact.aliases) == (
            expected.subject,
            expected.relation,
            expected.object,
            expected.aliases,
        )


def test_every_bad_row_is_reported_at_once(tmp_path: Path, toml: Path) -> None:
    path = write(
        tmp_path / "f.csv",
        b"subject,relation,object\n"  # 1
        b"a,plays,b\n"  # 2
        b"a,plays\n"  # 3: too few cells
        b",plays,  \n"  # 4: empty subject, empty object
        b"Caf\xe9,plays,b\n"  # 5: Latin-1
        b'"two\nlines",plays,b\n'  # 6-7: a line end inside a name
        b"a,plays,b\n"  # 8: duplicate of 2
        b'"a"b,plays,c\n'  # 9: broken quotes
        b"a,owns,b\n"  # 10: unknown relation
        b"m,mother of,c\n"  # 11
        b"m,mother of,d\n"  # 12: m has two children
        b"n,mother of,c\n"  # 13: c has two mothers
        b"a,plays,tennis\n"  # 14: fine, not one-to-one
        b"x\xef\xbf\xbdy,plays,b\n",  # 15: replacement character
    )
    found = complaints(path, toml)
    assert [line for line, _ in found] == [3, 4, 4, 5, 6, 8, 9, 10, 12, 13, 15]
    reasons = dict(found)
    assert "2 cells where the header has 3" in reasons[3]
    assert "not UTF-8" in reasons[5]
    assert "U+000A" in reasons[6]
    assert reasons[8] == "duplicate of line 2"
    assert "cannot be split into cells" in reasons[9]
    assert "unknown relation 'owns'" in reasons[10]
    assert "contradicts line 11" in reasons[12]
    assert "'m' has the object 'c' there, 'd' here" in reasons[12]
    assert "'c' has the subject 'm' there, 'n' here" in reasons[13]
    assert "U+FFFD" in reasons[15]


def test_the_message_lists_fifty_and_counts_all(tmp_path: Path, toml: Path) -> None:
    path = write(tmp_path / "f.csv", "subject,relation,object\n" + ",plays,b\n" * 55)
    with pytest.raises(FactErrors) as error:
        read_facts(path, toml)
    assert len(error.value.problems) == 55
    lines = str(error.value).splitlines()
    assert lines[0].startswith("55 problems")
    assert lines[1] == f"  {path}:2: subject is empty"
    assert lines[-1] == "  … and 5 more"
    assert len(lines) == 52


def test_names_that_differ_in_unicode_form_only_are_the_same(tmp_path: Path, toml: Path) -> None:
    path = write(tmp_path / "f.csv", "subject,relation,object\nJosé,plays,b\nJose\u0301,plays,b\n")
    assert complaints(path, toml) == [(3, "duplicate of line 2, but for its Unicode form")]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (b"", 1, "no header line"),
        (b"subject,relation,object\n", 1, "there are no facts"),
        (b"subject:relation:object\na:plays:b\n", 1, "missing columns subject, relation, object"),
        (b"subject,object\na,b\n", 1, "missing column relation;"),
        (b"subject,relation,object,object\na,plays,b,c\n", 1, "'object' stands twice"),
        (b"\xff\xfes\x00u\x00b\x00j\x00", 1, "missing columns subject, relation, object"),
        (b"s\x00u\x00b\x00j\x00,\x00", 1, "UTF-16 without its mark"),
        (b'subject,relation,object\na,plays,b\n"never closed,plays,b\nc,plays,d\n', 3, "cannot be split"),
        (b"subject,relation,object,aliases\na,plays,b,x||y\n", 2, "an alias is empty"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, toml: Path, text: bytes, line: int, reason: str) -> None:
    found = complaints(write(tmp_path / "f.csv", text), toml)
    assert len(found) == 1
    assert found[0][0] == line
    assert reason in found[0][1]


def test_bad_json_lines(tmp_path: Path, toml: Path) -> None:
    path = write(
        tmp_path / "f.jsonl",
        b'{"subject": "a", "relation": "plays", "object": "b"}\n'
        b'{"subject": "a", \n'
        b"[1]\n"
        b'{"subject": "a", "relation": "plays"}\n'
        b'{"subject": "a", "relation": "plays", "object": 1984}\n'
        b'{"subject": "a", "subject": "b", "relation": "plays", "object": "c"}\n'
        b'{"subject": "a", "relation": "plays", "object": "c", "aliases": ["x", 3]}\n'
        b'{"subject": "\\ud800", "relation": "plays", "object": "c"}\n'
        b'{"subject": "\xe9", "relation": "plays", "object": "c"}\n',
    )
    found = dict(complaints(path, toml))
    assert list(found) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert "not a JSON object" in found[2]
    assert found[4] == "missing key 'object'"
    assert "object must be a text in quotes, not 1984" in found[5]
    assert "'subject' stands twice" in found[6]
    assert "aliases must be a list" in found[7]
    assert "U+D800" in found[8]


def test_unread_columns_are_said(tmp_path: Path, toml: Path) -> None:
    path = write(tmp_path / "f.csv", "subject,relation,object,alias\na,plays,b,c\n")
    table = read_facts(path, toml)
    assert table.facts[0].aliases == ()
    (note,) = table.notes
    assert note.startswith("own table: not read: alias; read are: subject, ")
    assert note.endswith("(f.csv)")


def test_a_bare_table_gets_a_stub_that_works_once_saved(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", 'subject,relation,object\na,plays,b\nc,"né à ""X""",d\nd,plays,e\n')
    with pytest.raises(RelationsMissing) as error:
        read_facts(path)
    assert list(tomllib.loads(error.value.stub)) == ["plays", 'né à "X"']
    assert tomllib.loads(str(error.value)) == tomllib.loads(error.value.stub)
    filled = write(tmp_path / "r.toml", str(error.value))
    assert set(read_facts(path, filled).relations) == {"plays", 'né à "X"'}


def test_relations_toml(toml: Path) -> None:
    relations = read_relations(toml)
    assert relations["plays"].reverse == ("{object} is played by {subject}",)
    assert relations["mother of"].one_to_one
    assert not relations["plays"].one_to_one


def test_problems_of_a_toml_have_the_line_of_the_template(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.toml",
        "[a]\n"  # 1
        'forward = ["{subject} x {object}",\n'  # 2
        '           "{subjct} y {object}"]\n'  # 3
        "\n"
        "[b]\n"  # 5
        'forward = ["{subject} x"]\n'  # 6
        'reverse = ["{object} \\"{object}\\" {subject}"]\n'  # 7
        "\n"
        '["c d"]\n'  # 9
        'reverse = ["{object} x {subject}"]\n'
        "inverse = 3\n"  # 11
        'one_to_one = "yes"\n'  # 12
        "forwards = []\n"  # 13
        'one_shot = ["{subject}"]\n',  # 14
    )
    with pytest.raises(FactErrors) as error:
        read_relations(path)
    found = [(problem.line, problem.reason) for problem in error.value.problems]
    assert sorted(line for line, _ in found) == [3, 6, 7, 9, 11, 12, 13, 14]
    reasons = dict(found)
    assert "unknown slot {subjct}" in reasons[3]
    assert "{object} is missing" in reasons[6]
    assert "{object} stands 2 times" in reasons[7]
    assert "no forward template" in reasons[9]
    assert "unknown key 'forwards'" in reasons[13]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (b"[a]\nforward = [", 2, "not TOML"),
        (b"[a]\nforward = oops\n", 2, "not TOML"),
        (b"[a]\n# \xe9\n", 2, "not UTF-8"),
        (b"\nforward = []\n", 2, "outside a table"),
    ],
)
def test_unreadable_toml(tmp_path: Path, text: bytes, line: int, reason: str) -> None:
    with pytest.raises(FactErrors) as error:
        read_relations(write(tmp_path / "r.toml", text))
    (problem,) = error.value.problems
    assert (problem.line, reason in problem.reason) == (line, True)


def test_rows_and_toml_are_reported_together(tmp_path: Path) -> None:
    facts = write(tmp_path / "f.csv", "subject,relation,object\n,plays,b\na,plays,b\n")
    toml = write(tmp_path / "r.toml", '[plays]\nforward = ["{subject}"]\n')
    with pytest.raises(FactErrors) as error:
        read_facts(facts, toml)
    assert [(Path(p.file).name, p.line) for p in error.value.problems] == [("r.toml", 2), ("f.csv", 2)]


LRE = {
    "name": "country capital",
    "prompt_templates": ["The capital of {} is"],
    "prompt_templates_zs": ["The capital of {} is", 'Q: "samples" of {}? A: '],
    "properties": {"samples": [1, {"x": [2]}], "symmetric": False},
    "samples": [{"subject": "France", "object": "Paris"}, {"subject": "Perú", "object": "Lima"}],
}


def test_lre_file_words_itself_and_a_toml_adds(tmp_path: Path) -> None:
    path = write(tmp_path / "capital.json", json.dumps(LRE, indent=2))
    table = read_facts(path)
    first = path.read_text().splitlines().index('      "subject": "France",')
    assert table.facts[0] == Fact("France", "country capital", "Paris", source=f"capital.json:{first}")
    assert table.facts[1].source == f"capital.json:{first + 4}"
    relation = table.relations["country capital"]
    assert relation.forward == (
        "The capital of {subject} is {object}",
        'Q: "samples" of {subject}? A: {object}',
    )
    assert relation.reverse == ()
    toml = write(tmp_path / "r.toml", '["country capital"]\nreverse = ["{object} is in {subject}"]\n')
    added = read_facts(path, toml).relations["country capital"]
    assert added.forward == relation.forward
    assert added.reverse == ("{object} is in {subject}",)


@given(st.integers(0, 8), st.sampled_from([None, 0, 3]), st.booleans())
@settings(max_examples=20, deadline=None)
def test_lre_sample_lines_in_any_layout(
    tmp_path_factory: pytest.TempPathFactory, count: int, indent: int | None, last: bool
) -> None:
    samples = [{"subject": f"s{i}", "object": ']}[{\\"\n'[: i % 5] + "o"} for i in range(count)]
    keys = ["name", "prompt_templates", "properties"]
    document = {key: LRE[key] for key in keys[: 3 if last else 1]} | {"samples": samples}
    document |= {key: LRE[key] for key in keys}
    path = tmp_path_factory.mktemp("lre") / "f.json"
    write(path, json.dumps(document, indent=indent))
    if count == 0:
        assert complaints(path, None) == [(1, "there are no facts in it")]
        return
    lines = path.read_text().split("\n")
    for fact in read_facts(path):
        line = int(fact.source.rpartition(":")[2])
        following = "\n".join(lines[line - 1 :])
        assert f'"{fact.subject}"' in following
        if indent is not None:
            assert lines[line - 1].strip() == "{"
            assert f'"{fact.subject}"' in lines[line]


def test_lre_directory_and_its_problems(tmp_path: Path) -> None:
    (tmp_path / "factual").mkdir()
    write(tmp_path / "factual" / "a.json", json.dumps(LRE))
    write(tmp_path / "b.json", json.dumps(LRE | {"name": "other", "prompt_templates": ["{} x"]}))
    table = read_facts(tmp_path)
    assert len(table) == 4
    assert set(table.relations) == {"country capital", "other"}
    write(tmp_path / "c.json", json.dumps(LRE | {"name": "bad", "prompt_templates": ["{} and {}"]}))
    write(tmp_path / "d.json", '{"name": "x",\n"samples": [}')
    write(tmp_path / "e.json", '{"samples": 3}')
    with pytest.raises(FactErrors) as error:
        read_facts(tmp_path)
    found = [(Path(p.file).name, p.line) for p in error.value.problems]
    assert found == [("c.json", 1), ("d.json", 2), *[("e.json", 1)] * 3]


def test_unknown_formats_and_missing_files_say_so(tmp_path: Path, toml: Path) -> None:
    with pytest.raises(ValueError, match=r"known: \.csv, \.tsv, .*\.parquet"):
        read_facts(write(tmp_path / "f.xlsx", b""), toml)
    with pytest.raises(ValueError, match="there is no file of facts"):
        read_facts(tmp_path / "none.csv", toml)
    with pytest.raises(ValueError, match="there is no file of relations"):
        read_facts(write(tmp_path / "f.csv", "subject,relation,object\na,plays,b\n"), tmp_path / "no.toml")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"holds no \.json file"):
        read_facts(empty)


cells = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp"))).filter(
    lambda text: text == text.strip() and text != "" and not set(text) & {"\ufeff", "\ufffd"}
)


def normal(pair: tuple[str, str]) -> tuple[str, ...]:
    return tuple(unicodedata.normalize("NFC", name) for name in pair)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=8, unique_by=normal))
@settings(max_examples=60, deadline=None)
def test_any_names_survive_all_three_formats(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("round")
    toml = write(folder / "r.toml", '[r]\nforward = ["{subject} {object}"]\n')
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        with (folder / f"f{suffix}").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerow(["subject", "relation", "object"])
            writer.writerows((subject, "r", object) for subject, object in pairs)
    lines = [json.dumps({"subject": subject, "relation": "r", "object": object}) for subject, object in pairs]
    write(folder / "f.jsonl", "\n".join(lines))
    for suffix in (".csv", ".tsv", ".jsonl"):
        table = read_facts(folder / f"f{suffix}", toml)
        assert [(fact.subject, fact.object) for fact in table] == pairs


def test_the_stub_keeps_the_order_and_each_name_once() -> None:
    assert list(tomllib.loads(relations_stub(["b", "a b", "b"]))) == ["b", "a b"]
