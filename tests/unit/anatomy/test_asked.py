"""Questions laid out by position: where names stand, what the answers are, and what is left out, with the reason."""

import pytest

from oneway.anatomy.asked import TooFewFacts, ask
from oneway.facts import Fact, FactTable, Relation
from oneway.models.tokens import bpe_tokenizer, word_tokenizer

SPORT = Relation(
    "sport",
    ("{subject} plays the sport of {object}", "{object} is what {subject} plays"),
    one_shot=("Fact: Tiger Woods plays the sport of golf. Fact: ",),
)
SPORTS = ("tennis", "rugby union", "chess")


def people(count: int, words: int = 2) -> list[Fact]:
    return [
        Fact(" ".join(f"n{i}x{w}" for w in range(words)), "sport", SPORTS[i % 3], source=f"f.csv:{i}")
        for i in range(count)
    ]


def table(facts: list[Fact]) -> FactTable:
    return FactTable(tuple(facts), {"sport": SPORT})


def words_of(*tables: FactTable):
    texts = [f"{f.subject}. {f.object}." for t in tables for f in t]
    return word_tokenizer([*texts, SPORT.one_shot[0], "plays the sport of is what"])


def test_names_stand_where_the_positions_say():
    facts = people(30)
    tokenizer = words_of(table(facts))
    (group,) = ask(tokenizer, table(facts), "sport", one_shot=0).groups
    assert group.name == range(group.final - 1, group.final + 1)
    for row, fact, right in zip(group.tokens, group.facts, group.right, strict=True):
        assert tokenizer.decode(row[group.name.start : group.name.stop]) == fact.subject
        assert tokenizer.decode(row[group.last :]) == "of"
        assert tokenizer.decode(group.answers[right]) == fact.object.split()[0]
        assert group.labels[right] == fact.object


def test_byte_level_names_end_where_their_last_token_ends():
    facts = people(200)
    tokenizer = bpe_tokenizer([f"{f.subject} plays the sport of {f.object}." for f in facts], 300)
    for group in ask(tokenizer, table(facts), "sport").groups:
        for row, fact in zip(group.tokens, group.facts, strict=True):
            assert tokenizer.decode(row[group.name.start : group.name.stop]).strip() == fact.subject
            assert "plays" in tokenizer.decode(row[group.name.stop :])


def test_names_of_other_lengths_are_asked_apart():
    facts = people(30) + people(24, words=3)
    found = ask(words_of(table(facts)), table(facts), "sport")
    assert [(len(g), len(g.name)) for g in found.groups] == [(30, 2), (24, 3)]
    assert not found.notes


def test_what_is_left_out_is_noted():
    facts = people(30) + people(5, words=4) + [Fact("n0x0 n0x1", "sport", "rugby union")]
    tokenizer = words_of(table(facts))
    unknown = [Fact("nobody n1x1", "sport", "chess")]
    found = ask(tokenizer, table(facts + unknown), "sport")
    assert len(found.groups[0]) == 29
    assert sorted(found.notes) == [
        "1 facts not asked: it holds a word that the model does not know",
        "2 facts not asked: the name stands for several right answers",
        "5 facts not asked: only 5 facts and 3 answers with names of 4 tokens",
    ]


def test_too_few_facts_are_refused_with_the_reason():
    facts = people(12)
    with pytest.raises(TooFewFacts, match="only 12 facts"):
        ask(words_of(table(facts)), table(facts), "sport")
    one = [Fact(f.subject, "sport", "chess") for f in people(40)]
    with pytest.raises(TooFewFacts, match="40 facts and 1 answers"):
        ask(words_of(table(one)), table(one), "sport")


def test_a_question_that_gives_the_answer_away_is_refused():
    facts = people(30)
    with pytest.raises(ValueError, match="answer before the subject"):
        ask(words_of(table(facts)), table(facts), "sport", template=1)
    with pytest.raises(ValueError, match="number 2"):
        ask(words_of(table(facts)), table(facts), "sport", template=2)


def test_some_of_the_questions():
    facts = people(30)
    (group,) = ask(words_of(table(facts)), table(facts), "sport").groups
    some = group.only([3, 4])
    assert [f.subject for f in some.facts] == ["n3x0 n3x1", "n4x0 n4x1"]
    assert len(group.only(group.right == 1)) == 10
    assert some.right_token.tolist() == group.right_token[3:5].tolist()
