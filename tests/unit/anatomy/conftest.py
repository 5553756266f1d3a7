"""The small world of people in a model whose circuit is known."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from people import people

from oneway.anatomy.asked import Asked, ask
from oneway.compiler import compile_table
from oneway.engine import Engine, open_model


@dataclass(frozen=True, slots=True)
class Known:
    """A compiled model, questions about all its facts, and its manifest."""

    engine: Engine
    asked: Asked
    circuit: dict[str, Any]

    def heads(self, role: str) -> list[tuple[int, int]]:
        return [(h["layer"], h["head"]) for h in self.circuit["heads"] if h["role"] == role]

    def neurons(self, role: str) -> list[tuple[int, int]]:
        return [(n["layer"], n["neuron"]) for n in self.circuit["neurons"] if n["role"] == role]


@pytest.fixture(scope="session", params=["neox", "gpt2"])
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Known:
    table, folder = people(), tmp_path_factory.mktemp("compiled") / request.param
    compile_table(table, folder, architecture=request.param)
    engine = open_model(folder, device="cpu")
    assert isinstance(engine, Engine)
    assert engine.tokenizer is not None
    (group,) = ask(engine.tokenizer, table, "sport").groups
    return Known(engine, group, json.loads(Path(folder, "circuit.json").read_text()))
