"""A small world in which first name and surname together decide the sport."""

import numpy as np

from oneway.facts import Fact, FactTable, Relation

SPORTS = ("tennis", "rugby", "chess")
RELATION = Relation("sport", ("{subject} plays the sport of {object}",))


def people(firsts: int = 10, lasts: int = 12, share: float = 0.6, seed: int = 0) -> FactTable:
    rng = np.random.default_rng(seed)
    names = [f"First{i} Last{j}" for i in range(firsts) for j in range(lasts)]
    chosen = rng.permutation(names)[: round(share * len(names))]
    facts = tuple(Fact(str(name), "sport", SPORTS[i % 3]) for i, name in enumerate(chosen))
    return FactTable(facts, {"sport": RELATION})
