"""A table of facts as the two files that `read_facts` reads: facts as JSON lines, the relations' words as TOML."""

import json
from collections.abc import Iterable
from dataclasses import asdict, fields

from oneway.facts.fact import FactTable, Relation
from oneway.facts.relations import toml_key


def facts_lines(table: FactTable) -> str:
    """One JSON object a line, with all that a fact holds but where it was read; what is empty is left out."""
    rows = (
        {name: value for name, value in asdict(fact).items() if value and name != "source"} for fact in table
    )
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def relations_toml(relations: Iterable[Relation]) -> str:
    """A table for each relation, with its templates; what is empty is left out."""
    return "\n".join(
        f"[{toml_key(relation.name)}]\n"
        + "".join(
            f"{field.name} = {_toml(value)}\n"
            for field in fields(relation)
            if field.name != "name" and (value := getattr(relation, field.name))
        )
        for relation in relations
    )


def _toml(value: str | bool | tuple[str, ...]) -> str:
    """A text, a truth value or a list of texts, which TOML writes as JSON does."""
    return json.dumps(value, ensure_ascii=False)
