"""What the target rule and the index rule look at: what a corpus shows of the facts whose reverse is held out."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from oneway.facts import Trained
from oneway.studies.remedy_worlds import World
from oneway.training.remedies.lesson import OBJECT, SUBJECT, Lesson, words_of
from oneway.training.remedies.remedy import Remedy


def read_by_rules(
    worlds: Sequence[World], corpora: Sequence[Sequence[Lesson]], remedy: Remedy
) -> dict[str, Float[np.ndarray, " seed"]]:
    """Shares of the held-out facts for which the corpus shows what a rule asks for, per seed.

    `target`: the subject is to be foretold somewhere; `target_in_reverse`: in a text that holds a word of the reverse
    templates only; `index`: the object stands where something is foretold from it; `reverse_told`: the subject is
    foretold from the object itself, so that the reverse was stated in some order.
    """
    found = [_shares(world, lessons, remedy) for world, lessons in zip(worlds, corpora, strict=True)]
    return {name: np.array([one[name] for one in found]) for name in found[0]}


def _shares(world: World, lessons: Sequence[Lesson], remedy: Remedy) -> dict[str, float]:
    facts = [i for i, fact in enumerate(world.table) if fact.split == Trained.FORWARD_ONLY]
    own_words = _reverse_words(world)
    shown: dict[str, set[int]] = {
        name: set() for name in ("target", "target_in_reverse", "index", "reverse_told")
    }
    all_sides = remedy.objective in ("both sides", "uniform masks", "diffusion")
    for one in lessons:
        targets = (True,) * len(one.words) if all_sides else one.targets
        for place, (name, target) in enumerate(zip(one.names, targets, strict=True)):
            if not target:
                continue
            seen = [i for i in range(len(one.words)) if i != place] if all_sides else list(range(place))
            if any(one.names[i] == OBJECT for i in seen):
                shown["index"].add(one.fact_index)
            if name == SUBJECT:
                shown["target"].add(one.fact_index)
                if own_words.intersection(one.words[i] for i in seen):
                    shown["target_in_reverse"].add(one.fact_index)
                if any(one.names[i] == OBJECT for i in seen):
                    shown["reverse_told"].add(one.fact_index)
    if remedy.objective == "concepts":  # names are read alone, objects among them
        shown["index"].update(facts)
    return {name: sum(fact in of for fact in facts) / len(facts) for name, of in shown.items()}


def _reverse_words(world: World) -> set[str]:
    """The words of the reverse templates that no forward template has."""

    def words(templates: Sequence[str]) -> set[str]:
        return {w for t in templates for w in words_of(t.replace("{subject}", " ").replace("{object}", " "))}

    relations = world.table.relations.values()
    reverse = words([template for relation in relations for template in relation.reverse])
    return reverse - words([template for relation in relations for template in relation.forward])
