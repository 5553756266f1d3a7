"""A small world in which first name and surname together decide the sport, and a model that was taught it."""

import numpy as np
import pytest

from oneway.anatomy.asked import Asked, ask
from oneway.engine import Engine, open_model
from oneway.facts import Fact, FactTable, Relation
from oneway.training.lessons import Lessons
from oneway.training.optimisers import Optimisation
from oneway.training.teach import Size, Teaching, teach

SPORTS = ("tennis", "rugby", "chess")
RELATION = Relation("sport", ("{subject} plays the sport of {object}",))


def people(firsts: int = 10, lasts: int = 12, share: float = 0.5, seed: int = 0) -> FactTable:
    rng = np.random.default_rng(seed)
    names = [f"First{i} Last{j}" for i in range(firsts) for j in range(lasts)]
    chosen = rng.permutation(names)[: round(share * len(names))]
    facts = tuple(Fact(str(name), "sport", SPORTS[i % 3]) for i, name in enumerate(chosen))
    return FactTable(facts, {"sport": RELATION})


@pytest.fixture(scope="session")
def table() -> FactTable:
    return people()


@pytest.fixture(scope="session")
def engine(table: FactTable, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    teaching = Teaching(
        size=Size(layers=4, width=32, heads=4, context=16),
        lessons=Lessons(episodes=0.0, tokens_a_step=960),
        optimisation=Optimisation(
            steps=250, learning_rate=0.01, matrices="muon", schedule="linear", warm_up=0.05
        ),
    )
    opened = open_model(teach(table, tmp_path_factory.mktemp("taught"), teaching).checkpoint, device="cpu")
    assert isinstance(opened, Engine)
    return opened


@pytest.fixture(scope="session")
def asked(engine: Engine, table: FactTable) -> Asked:
    assert engine.tokenizer is not None
    (group,) = ask(engine.tokenizer, table, "sport").groups
    return group
