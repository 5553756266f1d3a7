"""A world of people who share first names and surnames: who somebody is, neither name says alone."""

from collections.abc import Sequence
from itertools import islice, product

import numpy as np

from oneway.facts.fact import Fact, FactTable, Relation
from oneway.facts.names import invented_words
from oneway.facts.splits import Trained

SPORTS = ("baseball", "basketball", "football")
COLOURS = ("Red", "Blue", "Golden", "Silver")
ANIMALS = ("Wolves", "Bears", "Hawks", "Lions")
JOBS = ("teacher", "baker", "lawyer", "painter", "nurse", "farmer", "judge", "sailor")
TOWNS, COLLEGES, CITIES, CLUBS = 8, 8, 4, 16
ONE_SHOT = "Fact: Tiger Woods plays the sport of golf\nFact: "  # golf, so as to favour none of the three


def _in_three_forms(name: str, verb: str, noun: str) -> Relation:
    """Text stands before the subject in two of the forms, so that a name's position says nothing."""
    return Relation(
        name=name,
        forward=(
            f"{{subject}} {verb} {{object}}",
            f"It is known that {{subject}} {verb} {{object}}",
            f"The {noun} of {{subject}} is {{object}}",
        ),
        one_shot=(ONE_SHOT,) if name == "plays_sport" else (),
    )


OF_ATHLETES = (
    _in_three_forms("plays_sport", "plays the sport of", "sport"),
    _in_three_forms("born_in", "was born in", "birthplace"),
    _in_three_forms("studied_at", "studied at", "college"),
    _in_three_forms("plays_for", "plays for the", "club"),
)
WORKS_AS = _in_three_forms("works_as", "works as a", "job")
CHILD_OF = Relation(
    name="child_of",
    forward=("{subject} is the child of {object}",),
    reverse=("{object} is the parent of {subject}",),
    inverse="parent_of",
    one_to_one=True,
)


def athletes(
    count: int = 1500,
    *,
    seed: int,
    first_names: int = 100,
    surnames: int = 300,
    others: int = 200,
    parents: int = 200,
) -> FactTable:
    """Athletes with four attributes each, people without a sport with two, and pairs of child and parent.

    All names are drawn without replacement from `first_names` × `surnames`, so that hundreds of people share a
    first name or a surname and only both together say who is meant; nobody is an athlete and a parent at once. Every
    attribute is drawn at random, independently of the name and of the others: a sport of three, a town and a college
    of eight, and a club of 16, whose name has three words that several clubs share (`Boston Red Wolves`). Others have a
    job and a town. Parents and children are pairs of names; a shared surname is a coincidence. Every fact is labelled
    as trained forward only. Names of the product that the table does not hold are unknown people: see
    `arbitrary_names`.

    Raises ValueError where there are fewer names than people, or no athlete.

    Source: the Fact Finding sequence (Nanda et al. 2023), set-up, whose 1,500 athletes of three sports are real.
    """
    people = count + others + 2 * parents
    if count < 1 or min(others, parents) < 0 or people > first_names * surnames:
        raise ValueError(
            f"{people:,} people with names of their own, at least one of them an athlete, cannot be drawn from "
            f"{first_names} first names and {surnames} surnames"
        )
    rng = np.random.default_rng(seed)
    words = iter(_new_words(first_names + surnames + TOWNS + COLLEGES + CITIES, rng))
    firsts, lasts, towns, colleges, cities = (
        list(islice(words, number)) for number in (first_names, surnames, TOWNS, COLLEGES, CITIES)
    )
    names = [
        f"{firsts[number // surnames]} {lasts[number % surnames]}"
        for number in rng.choice(first_names * surnames, size=people, replace=False).tolist()
    ]
    triples = [" ".join(words) for words in product(cities, COLOURS, ANIMALS)]
    clubs = [triples[number] for number in rng.choice(len(triples), size=CLUBS, replace=False).tolist()]
    values = dict(zip(OF_ATHLETES, (SPORTS, towns, colleges, clubs), strict=True))
    of_others = {WORKS_AS: JOBS, OF_ATHLETES[1]: towns}
    facts = [
        Fact(name, relation.name, _pick(of, rng), split=Trained.FORWARD_ONLY.value)
        for group, relations in ((names[:count], values), (names[count : count + others], of_others))
        for name in group
        for relation, of in relations.items()
    ]
    family = iter(names[count + others :])
    facts += [
        Fact(child, CHILD_OF.name, parent, split=Trained.FORWARD_ONLY.value)
        for child, parent in zip(family, family, strict=True)
    ]
    return FactTable(tuple(facts), {r.name: r for r in (*OF_ATHLETES, WORKS_AS, CHILD_OF)})


def _new_words(count: int, rng: np.random.Generator) -> list[str]:
    """Invented words, none of which stands in a template or is a value: each token has one meaning."""
    templates = [t for r in (*OF_ATHLETES, WORKS_AS, CHILD_OF) for t in (*r.forward, *r.reverse, *r.one_shot)]
    taken = {word for text in templates for word in text.split()}.union(COLOURS, ANIMALS)
    words = [word for word in invented_words(count + len(taken), rng) if word not in taken]
    return words[:count]


def _pick(values: Sequence[str], rng: np.random.Generator) -> str:
    return values[int(rng.integers(len(values)))]
