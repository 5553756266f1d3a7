"""The world of people who share names: sizes, what is independent of what, what is refused."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from oneway.facts import Trained, athletes, training_sentences
from oneway.facts.people import OF_ATHLETES, SPORTS

WORLD = athletes(seed=1)


def test_everybody_has_the_attributes_of_their_kind():
    known: dict[str, list[str]] = {}
    for fact in WORLD:
        known.setdefault(fact.subject, []).append(fact.relation)
    kinds = Counter(tuple(relations) for relations in known.values())
    assert kinds == {
        tuple(relation.name for relation in OF_ATHLETES): 1500,
        ("works_as", "born_in"): 200,
        ("child_of",): 200,
    }
    assert {fact.split for fact in WORLD} == {Trained.FORWARD_ONLY}
    assert all(len(fact.object.split()) == (3 if fact.relation == "plays_for" else 1) for fact in WORLD
               if fact.relation != "child_of")  # fmt: skip


def test_nobody_is_two_people_and_names_are_shared():
    people = Counter(fact.subject for fact in WORLD.select(relation="plays_sport"))
    people += Counter(fact.subject for fact in WORLD.select(relation="works_as"))
    people += Counter(
        name for fact in WORLD.select(relation="child_of") for name in (fact.subject, fact.object)
    )
    assert len(people) == 2100
    assert set(people.values()) == {1}
    firsts = Counter(name.split()[0] for name in people)
    surnames = Counter(name.split()[1] for name in people)
    assert len(firsts) == 100
    assert len(surnames) == 300
    assert not firsts.keys() & surnames.keys()
    assert min(firsts.values()) >= 6  # 21 on average


def test_sports_depend_on_neither_name_nor_any_other_attribute():
    """Chi-squared over all values; the smallest of five p-values of a fair draw is hardly ever below 1e-4."""
    known: dict[str, dict[str, str]] = {}
    for fact in WORLD:
        known.setdefault(fact.subject, {})[fact.relation] = fact.object
    people = {name: own for name, own in known.items() if "plays_sport" in own}
    assert {own["plays_sport"] for own in people.values()} == set(SPORTS)
    columns = [{name: own[relation.name] for name, own in people.items()} for relation in OF_ATHLETES[1:]]
    columns += [{name: name.split()[part] for name in people} for part in (0, 1)]
    for column in columns:
        values = {value: i for i, value in enumerate(dict.fromkeys(column.values()))}
        counts = np.zeros((3, len(values)))
        for name, own in people.items():
            counts[SPORTS.index(own["plays_sport"]), values[column[name]]] += 1
        assert chi2_contingency(counts).pvalue > 1e-4


def test_no_word_has_two_meanings():
    """A value of one relation is no value of another and stands in no template, so a row of a table can be read."""
    values: dict[str, set[str]] = {}
    for fact in WORLD:
        if fact.relation != "child_of":
            values.setdefault(fact.relation, set()).update(fact.object.split())
    relations = list(values)
    for i, one in enumerate(relations):
        for other in relations[i + 1 :]:
            assert not values[one] & values[other]
    words = {word for r in WORLD.relations.values() for t in (*r.forward, *r.one_shot) for word in t.split()}
    names = {word for fact in WORLD for word in fact.subject.split()}
    assert not names & (words | set().union(*values.values()))
    assert not words & set().union(*values.values())


def test_the_club_needs_all_of_its_words():
    """Neither the first word nor the first two say what follows, at least somewhere."""
    clubs = {tuple(fact.object.split()) for fact in WORLD.select(relation="plays_for")}
    assert len(clubs) == 16
    assert len({club[0] for club in clubs}) <= 4
    assert len({club[:2] for club in clubs}) < 16


def test_it_is_a_function_of_the_seed_and_says_what_it_knows():
    assert athletes(seed=1) == WORLD
    assert athletes(seed=2).facts != WORLD.facts
    assert sum(1 for _ in training_sentences(WORLD)) == 3 * (1500 * 4 + 200 * 2) + 200


@pytest.mark.parametrize(("count", "others", "first_names"), [(0, 5, 10), (50, 50, 10), (5, -1, 10)])
def test_impossible_worlds(count, others, first_names):
    with pytest.raises(ValueError, match="cannot be drawn"):
        athletes(count, seed=0, others=others, first_names=first_names, surnames=10, parents=1)
