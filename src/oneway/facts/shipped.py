"""The tables that come with the package, by name."""

from importlib.resources import as_file, files
from pathlib import Path

from oneway.facts.fact import FactTable, Relation
from oneway.facts.reading import read_facts
from oneway.facts.relations import read_relations

SHIPPED = ("athletes", "parents")


def load_table(name: str) -> FactTable:
    """A shipped table: `athletes` (who plays which sport) or `parents` (who is whose child).

    Raises ValueError where there is no such table.
    """
    _must_be_shipped(name)
    return _read(name, None)


def load_relations(name: str) -> dict[str, Relation]:
    """The relations of a shipped table, with their templates.

    Raises ValueError where there is no such table.
    """
    _must_be_shipped(name)
    with as_file(files("oneway.facts") / "tables") as tables:
        return read_relations(tables / f"{name}.toml")


def resolve(path_or_name: str | Path, relations: str | Path | None = None) -> FactTable:
    """A shipped table by its name, or the facts of a file; a file named like a table is "./name".

    `relations` is a TOML of templates; for a shipped table it takes the place of its own.

    Raises ValueError where there is neither, and what `read_facts` raises.
    """
    if path_or_name in SHIPPED:
        return _read(path_or_name, relations)
    if not Path(path_or_name).exists():
        raise ValueError(
            f"{str(path_or_name)!r} is neither a file of facts nor a shipped table; "
            f"shipped: {', '.join(SHIPPED)}"
        )
    return read_facts(path_or_name, relations)


def _read(name: str, relations: str | Path | None) -> FactTable:
    with as_file(files("oneway.facts") / "tables") as tables:
        return read_facts(tables / f"{name}.csv", relations or tables / f"{name}.toml")


def _must_be_shipped(name: str) -> None:
    if name not in SHIPPED:
        raise ValueError(f"there is no shipped table {name!r}; there are: {', '.join(SHIPPED)}")
