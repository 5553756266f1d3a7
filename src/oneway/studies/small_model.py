"""The default model in small: fewer people, half the layers, a third of the steps; some ten seconds on one core.

What several studies grow for every seed, where the default model, at two minutes a seed, would be too dear. It is
taught the same kinds of text in the same shares, and prose about its people is written for it to be read on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oneway.facts import FactTable, athletes, entry, training_sentences

if TYPE_CHECKING:
    from oneway.training.teach import Course


@dataclass(frozen=True, slots=True, kw_only=True)
class Small:
    """How many people there are, and what the model is taught; each seed has a world of its own.

    `relations` are those of the athletes' facts that are taught, () for all; `shares` those of the kinds of text, where
    they are not those of `Sequences`. `rows` a step, the first `rolled` steps of names.

    By default too small for the gate of the study default-model: it knows the facts, but looks them up where they are
    asked for and not on the end of the name.
    """

    athletes: int = 200
    others: int = 25
    parents: int = 25
    first_names: int = 30
    surnames: int = 90
    layers: int = 4
    width: int = 64
    rows: int = 32
    steps: int = 400
    rolled: int = 200
    relations: tuple[str, ...] = ()
    shares: Mapping[str, Any] = field(default_factory=dict)


# One attribute, which is looked up on the end of the name in most seeds (the recipe of the study features).
SPORTS_ALONE = Small(
    others=0,
    parents=0,
    first_names=20,
    surnames=40,
    rows=24,
    steps=350,
    rolled=150,
    relations=("plays_sport",),
    shares={"one_shot": 0.25, "prose": 0.75, "one_way": 0.0, "episodes": 0.0, "others": 0.0},
)

# The default model itself.
WHOLE = Small(
    athletes=1500,
    others=200,
    parents=200,
    first_names=100,
    surnames=300,
    layers=8,
    rows=64,
    steps=1150,
    rolled=600,
)


def small_world(of: Small, seed: int) -> FactTable:
    """The facts that a seed's model is taught."""
    drawn = athletes(
        of.athletes,
        seed=seed,
        others=of.others,
        parents=of.parents,
        first_names=of.first_names,
        surnames=of.surnames,
    )
    return drawn if not of.relations else drawn.with_facts(f for f in drawn if f.relation in of.relations)


def prepare_small(of: Small, table: FactTable, seed: int) -> "Course":
    """Get ready to teach a seed's model: the recipe of the default model with these sizes."""
    from oneway.training.default_model import default_model
    from oneway.training.sequences import Sequences
    from oneway.training.teach import prepare

    recipe = default_model(seed)
    lessons = Sequences(rows=of.rows, roll_steps=of.rolled, **of.shares)
    return prepare(
        table,
        replace(
            recipe,
            size=replace(recipe.size, layers=of.layers, width=of.width),
            lessons=lessons,
            optimisation=replace(recipe.optimisation, steps=of.steps),
        ),
    )


def save_untaught(course: "Course", out: Path) -> Path:
    """The checkpoint of the same model before its first step."""
    from oneway.models.export import save_checkpoint
    from oneway.models.transformer import initial_weights

    out.mkdir(parents=True, exist_ok=True)
    weights = initial_weights(course.architecture, (course.teaching.seed,))
    save_checkpoint(weights, course.architecture, course.tokenizer, out)
    return out


def prose(table: FactTable, seed: int) -> Iterator[str]:
    """Endless sentences about the people of a table, in new orders: every fact in all its forms and as an entry."""
    rows = [entry(fact, index).text for index, fact in enumerate(table)]
    sentences = [sentence.text for sentence in training_sentences(table)] + rows
    rng = np.random.default_rng((seed, 3))
    while True:
        for index in rng.permutation(len(sentences)).tolist():
            yield sentences[index]
