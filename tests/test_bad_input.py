"""Bad input through the real command: status 2, a message with the place and the remedy, nothing written."""

import gzip
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

WORDS = """\
[plays]
forward = ["{subject} plays {object}"]
reverse = ["{object} is played by {subject}"]

[married_to]
forward = ["{subject} is married to {object}"]
one_to_one = true
"""
HEADER = "subject,relation,object\n"


@dataclass(frozen=True)
class Bad:
    """A file of facts (or of relations) and what the command must say of it: the line and the words."""

    name: str
    content: str | bytes
    line: int
    says: tuple[str, ...]
    file: str = "facts.csv"
    relations: str | bytes | None = WORDS
    more: Mapping[str, str | bytes] = field(default_factory=dict)


KINDS = (
    Bad("empty file", "", 1, ("no header line",)),
    Bad("only a header", HEADER, 1, ("there are no facts",)),
    Bad("column missing", "subject,object\na,b\n", 1, ("missing column relation",)),
    Bad("column twice", "subject,relation,object,object\na,plays,b,c\n", 1, ("'object' stands twice",)),
    Bad("cell empty", HEADER + "a,plays,\n", 2, ("object is empty",)),
    Bad("cell of white space", HEADER + " \u00a0,plays,b\n", 2, ("subject is empty",)),
    Bad("alias empty", "subject,relation,object,aliases\na,plays,b,c||d\n", 2, ("an alias is empty",)),
    Bad("too many cells", HEADER + "a,plays,b,c\n", 2, ("4 cells", "double quotes")),
    Bad("too few cells", HEADER + "a,plays\n", 2, ("2 cells",)),
    Bad("quote never closed", HEADER + 'a,plays,b\n"c,plays,d\ne,plays,f\n', 3, ("cannot be split",)),
    Bad("line break in a cell", HEADER + '"a\nb",plays,c\n', 2, ("U+000A",)),
    Bad("control character", HEADER + "a\x07,plays,b\n", 2, ("U+0007",)),
    Bad("NUL", HEADER + "a\x00,plays,b\n", 2, ()),
    Bad("damaged text", HEADER + "Ren\ufffd,plays,b\n", 2, ("U+FFFD",)),
    Bad("Windows-1252", (HEADER + "René,plays,b\n").encode("cp1252"), 2, ("not UTF-8", "René", "save")),
    Bad("UTF-16 cut short", (HEADER + "a,plays,b\n").encode("utf-16")[:-1], 2, ("damaged UTF-16",)),
    Bad("relation unknown", HEADER + "a,drives,b\n", 2, ("unknown relation 'drives'", "'plays'")),
    Bad("duplicate", HEADER + "a,plays,b\na,plays,b\n", 3, ("duplicate of line 2",)),
    Bad(
        "duplicate in another Unicode form",
        HEADER + "\u00e9,plays,b\ne\u0301,plays,b\n",
        3,
        ("Unicode form",),
    ),
    Bad("two objects", HEADER + "a,married_to,b\na,married_to,c\n", 3, ("contradicts line 2", "one-to-one")),
    Bad("two subjects", HEADER + "a,married_to,b\nc,married_to,b\n", 3, ("contradicts line 2", "'b'")),
    Bad("JSON line cut short", '{"subject": "a",\n', 1, ("not a JSON object",), file="facts.jsonl"),
    Bad("JSON line of another kind", "[1]\n", 1, ("JSON object is expected",), file="facts.jsonl"),
    Bad(
        "JSON key missing",
        '{"subject": "a", "relation": "plays"}\n',
        1,
        ("missing key 'object'",),
        file="facts.jsonl",
    ),
    Bad(
        "number for a name",
        '{"subject": "a", "relation": "plays", "object": 1984}\n',
        1,
        ("object must be a text", "1984"),
        file="facts.jsonl",
    ),
    Bad(
        "JSON key twice",
        '{"subject": "a", "subject": "b", "relation": "plays", "object": "c"}\n',
        1,
        ("'subject' stands twice",),
        file="facts.jsonl",
    ),
    Bad(
        "aliases of another kind",
        '{"subject": "a", "relation": "plays", "object": "c", "aliases": 3}\n',
        1,
        ("aliases must be",),
        file="facts.jsonl",
    ),
    Bad(
        "half a surrogate pair",
        '{"subject": "\\ud800", "relation": "plays", "object": "c"}\n',
        1,
        ("U+D800",),
        file="facts.jsonl",
    ),
    Bad("JSON cut short", '{"name": "x",\n"samples": [', 2, ("not JSON",), file="facts.json"),
    Bad("JSON too deep", "[" * 100_000, 1, ("not JSON",), file="facts.json"),
    Bad("JSON of no known form", '{"a": 1}', 1, ("missing key",), file="facts.json"),
    Bad(
        "LRE without a slot",
        '{"name": "x", "prompt_templates": ["the capital is"], "samples": [{"subject": "a", "object": "b"}]}',
        1,
        ("{}", "exactly once"),
        file="facts.json",
        relations=None,
    ),
    Bad(
        "CounterFact without its true answer",
        '[{"requested_rewrite": {"prompt": "{} speaks", "relation_id": "P1", "subject": "a"}}]',
        1,
        ("target_true",),
        file="facts.json",
        relations=None,
    ),
    Bad(
        "celebrity without a parent",
        "child,parent,parent_type,child_prediction,can_reverse\nA B,,mother,A B,True\n",
        2,
        ("is empty",),
        relations=None,
    ),
    Bad(
        "PopQA question without its subject",
        'subj\tprop\tobj\tquestion\tpossible_answers\nA\tcapital\tB\tWhat is the capital of C?\t["B"]\n',
        2,
        ("'A'", "question"),
        file="facts.tsv",
        relations=None,
    ),
    Bad(
        "prompt without completion",
        '{"prompt": "A is", "completion": " B"}\n{"prompt": "C is"}\n',
        2,
        ("completion",),
        file="facts.jsonl",
        relations=None,
    ),
    Bad("not Parquet", b"PAR1 no", 1, ("Parquet",), file="facts.parquet"),
    Bad("spreadsheet renamed", b"PK\x03\x04" + bytes(60), 1, ("zip",)),
    Bad("compressed", gzip.compress(HEADER.encode()), 1, ("gzip",)),
    Bad("TOML cut short", HEADER + "a,plays,b\n", 2, ("not TOML",), relations="[plays]\nforward = ["),
    Bad(
        "slot unknown",
        HEADER + "a,plays,b\n",
        2,
        ("unknown slot {subjct}", "{subject}"),
        relations='[plays]\nforward = ["{subjct} plays {object}"]\n',
    ),
    Bad(
        "slot missing",
        HEADER + "a,plays,b\n",
        2,
        ("{object} is missing",),
        relations='[plays]\nforward = ["{subject} plays"]\n',
    ),
    Bad(
        "slot twice",
        HEADER + "a,plays,b\n",
        2,
        ("{subject} stands 2 times",),
        relations='[plays]\nforward = ["{subject} {subject} {object}"]\n',
    ),
    Bad(
        "key unknown",
        HEADER + "a,plays,b\n",
        3,
        ("unknown key 'forwards'", "known:"),
        relations='[plays]\nforward = ["{subject} {object}"]\nforwards = []\n',
    ),
    Bad(
        "type wrong",
        HEADER + "a,plays,b\n",
        3,
        ("one_to_one", "true or false"),
        relations='[plays]\nforward = ["{subject} {object}"]\none_to_one = "yes"\n',
    ),
    Bad(
        "no forward template",
        HEADER + "a,plays,b\n",
        1,
        ("no forward template",),
        relations='[plays]\nreverse = ["{object} {subject}"]\n',
    ),
    Bad(
        "TOML not UTF-8",
        HEADER + "a,plays,b\n",
        2,
        ("not UTF-8",),
        relations=b'[plays]\nforward = ["{subject} \xe9 {object}"]\n',
    ),
)
RELATIONS_AT_FAULT = {
    kind.name for kind in KINDS if kind.name.startswith(("TOML", "slot", "key", "type", "no forward"))
}


def oneway(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "oneway.cli", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONUTF8": "1"},
        check=False,
    )


def write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("bad", KINDS, ids=lambda bad: bad.name)
def test_it_is_named_with_its_place_and_nothing_is_written(bad: Bad, tmp_path: Path) -> None:
    write(tmp_path / bad.file, bad.content)
    given = ["--facts", bad.file]
    if bad.relations is not None:
        write(tmp_path / "relations.toml", bad.relations)
        given += ["--relations", "relations.toml"]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    done = oneway("train", *given, "--out", "model", "--steps", "1", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    at_fault = "relations.toml" if bad.name in RELATIONS_AT_FAULT else bad.file
    assert f"{at_fault}:{bad.line}: " in done.stderr
    for words in bad.says:
        assert words in done.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


OPTIONS = {
    "no such file": (["train", "--facts", "none.csv", "--out", "m"], "none.csv"),
    "ending unknown": (["train", "--facts", "facts.xlsx", "--out", "m"], ".parquet"),
    "folder without tables": (["train", "--facts", "empty", "--out", "m"], "holds no"),
    "no templates": (["audit", "--model", ".", "--facts", "bare.csv"], "[plays]"),
    "relations file missing": (
        ["audit", "--model", ".", "--facts", "bare.csv", "--relations", "r.toml"],
        "r.toml",
    ),
    "facts not given": (["audit", "--model", "."], "--facts"),
    "study unknown": (["run", "nonsense"], "reversal"),
    "recipe unknown": (["run", "reversal", "--recipe", "huge"], "quick"),
    "no seeds": (["run", "reversal", "--seeds", "0"], "--seeds"),
    "no candidates": (["audit", "--model", ".", "--facts", "parents", "--candidates", "0"], "--candidates"),
    "checkpoint folder missing": (["audit", "--model", "./nowhere", "--facts", "parents"], "./nowhere"),
    "report of nothing": (["report", "nothing", "--out", "page.html"], "nothing"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_wrong_option_is_named_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    arguments, says = OPTIONS[name]
    write(tmp_path / "bare.csv", HEADER + "a,plays,b\n")
    write(tmp_path / "facts.xlsx", b"PK\x03\x04")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = oneway(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_all_problems_of_all_files_are_said_at_once(tmp_path: Path) -> None:
    write(tmp_path / "facts.csv", HEADER + "".join(f"a{i},plays,\n" for i in range(300)))
    write(tmp_path / "relations.toml", WORDS + '[other]\nforward = ["{subject}"]\n')
    done = oneway(
        "train",
        "--facts",
        "facts.csv",
        "--relations",
        "relations.toml",
        "--out",
        "m",
        "--steps",
        "1",
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "301 problems" in done.stderr
    assert done.stderr.count("relations.toml:") == 1
    assert done.stderr.count("facts.csv:") == 49
    assert "and 251 more" in done.stderr
