from itertools import islice

import numpy as np
import pytest

from oneway.facts import (
    Fact,
    FactTable,
    arbitrary_facts,
    arbitrary_names,
    families,
    invented_words,
    name_words,
    repaired_facts,
)


def test_invented_words_differ() -> None:
    words = invented_words(3000, np.random.default_rng(0))
    assert len(set(words)) == 3000
    assert all(word.isalpha() and word.istitle() for word in words)


def test_name_words() -> None:
    firsts, lasts = name_words(["Nick Van Exel", "Pelé", "Nick Young", "Steve Young"])
    assert (firsts, lasts) == (["Nick", "Steve"], ["Van Exel", "Young"])


def test_arbitrary_names_are_all_the_new_ones() -> None:
    drawn = arbitrary_names(["A", "B"], ["X", "Y"], np.random.default_rng(0), known={"A X"})
    assert set(islice(drawn, 200)) == {"A Y", "B X", "B Y"}
    with pytest.raises(ValueError, match="1 first and 1 last words do not make 1 new names"):
        next(arbitrary_names(["A"], ["X"], np.random.default_rng(0), known=["A X"]))


def test_arbitrary_facts_are_about_nobody() -> None:
    table = families(40, seed=1)
    people = {name for fact in table for name in (fact.subject, fact.object)}
    firsts, lasts = name_words(people)
    facts = list(islice(arbitrary_facts(table, np.random.default_rng(0), known={"Not Me"}), 2000))
    for fact in facts:
        for name in (fact.subject, fact.object):
            assert name not in people
            assert name.split()[0] in firsts
            assert name.split()[1] in lasts
        assert fact.subject != fact.object
        assert fact.relation in table.relations
    again = list(islice(arbitrary_facts(table, np.random.default_rng(0), known={"Not Me"}), 2000))
    assert again == facts


def test_surnames_are_shared_as_often_as_wanted() -> None:
    table = families(40, seed=1)

    def shared(wanted: float) -> float:
        drawn = islice(arbitrary_facts(table, np.random.default_rng(0), same_surname=wanted), 2000)
        return float(np.mean([fact.subject.split()[1] == fact.object.split()[1] for fact in drawn]))

    # 12 surnames: by chance 1 in 12; a known name, here 80 of 600, is never made.
    assert 0.04 < shared(0.0) < 0.13
    assert 0.4 < shared(0.5) < 0.55
    assert 0.75 < shared(1.0) < 0.95


def test_repaired_facts_are_pairs_of_nobody() -> None:
    table = families(30, seed=2)
    pairs = {(fact.subject, fact.object) for fact in table}
    subjects = {(fact.subject, fact.relation) for fact in table}
    objects = {(fact.object, fact.relation) for fact in table}
    never = {(table.facts[0].subject, fact.object) for fact in table}
    facts = list(islice(repaired_facts(table, np.random.default_rng(0), never=never), 2000))
    for fact in facts:
        assert (fact.subject, fact.relation) in subjects
        assert (fact.object, fact.relation) in objects
        assert (fact.subject, fact.object) not in pairs | never
    assert {fact.object for fact in facts} == {fact.object for fact in table}


def test_repairing_avoids_pairs_of_other_relations_and_the_other_order() -> None:
    def table(*facts: tuple[str, str, str]) -> FactTable:
        return FactTable(tuple(Fact(*fact) for fact in facts))

    # Of a, b × c, d the pairs (a, c) and (b, d) are known, (a, d) in another relation, (c, b) reversed.
    full = table(("a", "r", "c"), ("b", "r", "d"), ("a", "s", "d"), ("c", "t", "b"))
    with pytest.raises(ValueError, match="every pair is taken"):
        next(repaired_facts(full, np.random.default_rng(0)))
    one_left = full.with_facts(full.facts[:3])
    drawn = list(islice(repaired_facts(one_left, np.random.default_rng(0)), 20))
    assert set(drawn) == {Fact("b", "r", "c")}
    with pytest.raises(ValueError, match="every pair is taken"):
        next(repaired_facts(one_left, np.random.default_rng(0), never={("b", "c")}))
