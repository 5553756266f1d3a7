"""What is written is read back as it was."""

from dataclasses import replace
from pathlib import Path

import pytest

from oneway.facts import Fact, FactTable, Relation, athletes, facts_lines, read_facts, relations_toml

ODD = Relation(
    'a "b".\\', forward=("{subject}\t“is”\n{object}",), reverse=("{object} ⇒ {subject}",), one_to_one=True
)


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(athletes(20, seed=0, others=5, parents=4), id="athletes"),
        pytest.param(
            FactTable(
                (
                    Fact("A|B, C", ODD.name, "D 'E'", aliases=("F", "G|H")),
                    Fact('{"x"}', ODD.name, "= # y", split="unseen", subject_aliases=("Zoë",)),
                ),
                {ODD.name: ODD},
            ),
            id="odd",
        ),
    ],
)
def test_round_trip(table: FactTable, tmp_path: Path):
    (tmp_path / "facts.jsonl").write_text(facts_lines(table), encoding="utf-8")
    (tmp_path / "relations.toml").write_text(relations_toml(table.relations.values()), encoding="utf-8")
    found = read_facts(tmp_path / "facts.jsonl", tmp_path / "relations.toml")
    assert found.relations == table.relations
    assert tuple(replace(fact, source="") for fact in found) == table.facts
