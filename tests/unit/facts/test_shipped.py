import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from oneway.facts import SHIPPED, load_table, questions, read_facts, resolve, unaskable


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_tables_are_clean(name: str) -> None:
    table = load_table(name)
    for fact in table:
        for text in (fact.subject, fact.object):
            assert text == " ".join(text.split())
            assert unicodedata.is_normalized("NFC", text)
            assert text.isprintable()
            assert not set(text) & set('0123456789,;|_()[]{}<>"’`')
    assert any(not fact.subject.isascii() for fact in table)
    assert unaskable(table) == ()


def test_athletes() -> None:
    table = load_table("athletes")
    assert len(table) >= 1500
    sports = Counter(fact.object for fact in table)
    assert set(sports) == {"baseball", "basketball", "football"}
    assert min(sports.values()) >= 450
    assert len({fact.subject for fact in table}) == len(table)
    assert {fact.relation for fact in table} == {"plays_sport"}
    assert all(len(fact.subject.split()) == 2 for fact in table)
    sport_of = {fact.subject: fact.object for fact in table}
    known = {
        "Babe Ruth": "baseball",
        "Shohei Ohtani": "baseball",
        "Luka Dončić": "basketball",
        "LeBron James": "basketball",
        "Tom Brady": "football",
        "Jerry Rice": "football",
    }
    assert {name: sport_of.get(name, sport) for name, sport in known.items()} == known
    prompts = [question.prompt for question in questions(table.select(relation="plays_sport"))]
    assert "Babe Ruth plays the sport of" in prompts


def test_parents() -> None:
    table = load_table("parents")
    assert len(table) >= 700
    assert len({fact.subject for fact in table}) == len(table)
    assert len({fact.object for fact in table}) == len(table)
    assert not {(f.subject, f.object) for f in table} & {(f.object, f.subject) for f in table}
    assert all(len(name.split()) >= 2 for fact in table for name in (fact.subject, fact.object))
    counts = Counter(fact.relation for fact in table)
    assert set(counts) == set(table.relations)
    assert min(counts.values()) >= 100
    for relation in table.relations.values():
        child, parent = relation.name.split("_of_")
        assert relation.forward == (f"{{subject}} is the {child} of {{object}}",)
        assert relation.reverse == (f"{{object}} is the {parent} of {{subject}}",)
        assert relation.inverse == f"{parent}_of_{child}"
        assert relation.one_to_one
    known = {
        ("Jamie Lee Curtis", "daughter_of_mother", "Janet Leigh"),
        ("Zoë Kravitz", "daughter_of_father", "Lenny Kravitz"),
        ("Kiefer Sutherland", "son_of_father", "Donald Sutherland"),
        ("Sean Lennon", "son_of_mother", "Yoko Ono"),
    }
    assert known <= {(fact.subject, fact.relation, fact.object) for fact in table}


def test_nobody_is_both_a_son_and_a_mother() -> None:
    sexes: dict[str, set[str]] = {}
    for fact in load_table("parents"):
        child, _, parent = fact.relation.partition("_of_")
        sexes.setdefault(fact.subject, set()).add({"son": "m", "daughter": "f"}[child])
        sexes.setdefault(fact.object, set()).add({"father": "m", "mother": "f"}[parent])
    assert [name for name, found in sexes.items() if len(found) > 1] == []


def test_a_name_or_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = resolve("athletes")
    assert table == load_table("athletes")
    monkeypatch.chdir(tmp_path)
    toml = tmp_path / "words.toml"
    toml.write_text('[plays_sport]\nforward = ["{subject}: {object}"]\n')
    assert resolve("athletes", toml).relations["plays_sport"].forward == ("{subject}: {object}",)
    file = tmp_path / "f.csv"
    file.write_text("subject,relation,object\na,plays_sport,b\n")
    assert resolve("f.csv", "words.toml") == read_facts(file, toml)
    with pytest.raises(ValueError, match=r"'athlete' is neither a file .* shipped: athletes, parents"):
        resolve("athlete")
    with pytest.raises(ValueError, match=r"no shipped table 'f\.csv'"):
        load_table("f.csv")
