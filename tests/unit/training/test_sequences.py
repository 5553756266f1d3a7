"""Rows of several kinds: the shares, what is predicted in each kind, what is never shown."""

from collections import Counter

import numpy as np
import pytest

from oneway.facts import FactTable, athletes, training_sentences
from oneway.models.tokens import word_tokenizer
from oneway.training.lessons import STEPS_AT_ONCE, Document
from oneway.training.sequences import Mixture, Sequences, passages

TABLE = athletes(60, seed=3, first_names=12, surnames=20, others=20, parents=15)
TOKENIZER = word_tokenizer([s.text for s in training_sentences(TABLE)] + [
    t.replace("{subject}", " ").replace("{object}", " ")
    for r in TABLE.relations.values() for t in (*r.forward, *r.reverse, *r.one_shot)
])  # fmt: skip
KNOWN = {(f.subject, f.relation): f.object for f in TABLE}


def rows(sequences: Sequences) -> list[tuple[str, str]]:
    """The rows of a hundred steps: all that is read, and what of it is to be predicted."""
    mixture = Mixture(TABLE, TOKENIZER, sequences, seed=5)
    found = []
    for step in range(STEPS_AT_ONCE):
        batch = mixture(step)
        marked = np.zeros(batch.tokens.numel(), bool)
        marked[batch.positions[0] + 1] = True
        for row, marks in zip(batch.tokens[0].tolist(), marked.reshape(batch.tokens.shape[1:]), strict=True):
            text = TOKENIZER.decode([t for t in row if t != TOKENIZER.bos_token_id])
            found.append((text, TOKENIZER.decode([t for t, m in zip(row, marks, strict=True) if m])))
    return found


def only(kind: str, **more: float) -> list[tuple[str, str]]:
    none = dict.fromkeys(("one_shot", "prose", "one_way", "episodes", "others"), 0.0)
    return rows(Sequences(rows=4, **{**none, kind: 1.0, **more}))


def test_each_kind_has_its_share_of_the_rows():
    kinds = Counter(
        "one_shot" if text.startswith("Fact")
        else "episodes" if "parent of" in text
        else "one_way" if "child of" in text
        else "others" if any((" ".join(text.split()[i : i + 2]), "works_as") in KNOWN for i in range(5))
        else "prose"
        for text, _ in rows(Sequences(rows=20))
    )  # fmt: skip
    assert kinds == {"one_shot": 240, "prose": 960, "one_way": 160, "episodes": 300, "others": 340}


def test_a_one_shot_prompt_asks_for_the_sport():
    found = only("one_shot")
    assert len({text for text, _ in found}) == 60
    for text, answer in found:
        assert text.startswith("Fact : Tiger Woods plays the sport of golf Fact : ")
        name = " ".join(text.split()[11:13])
        assert answer == KNOWN[name, "plays_sport"] + " ."


def test_entries_are_predicted_whole_from_the_name_on_and_in_every_order():
    first = Counter()
    for text, answers in only("prose", entries=1.0):
        for sentence in text.removesuffix(" .").split(" . "):
            name, values = " ".join(sentence.split()[:2]), sentence.split()[2:]
            assert " ".join(values) in answers
            own = [KNOWN[name, r] for r in ("plays_sport", "born_in", "studied_at", "plays_for")]
            assert sorted(" ".join(own).split()) == sorted(values)
            assert KNOWN[name, "plays_for"] in " ".join(values)
            first[next(i for i, value in enumerate(own) if value.split()[0] == values[0])] += 1
    assert min(first.values()) / first.total() > 0.2  # a quarter each


def test_told_sentences_are_predicted_in_their_answers_only():
    told = {s.text[:-1].replace(".", "") + " .": s for s in training_sentences(TABLE)}
    for text, answers in only("prose", entries=0.0):
        sentences = [told[sentence + " ."] for sentence in text.removesuffix(" .").split(" . ")]
        assert answers == " ".join(s.text[slice(*s.answer_span)].strip() + " ." for s in sentences)


def test_episodes_are_about_people_who_are_not_related_and_no_athletes():
    pairs = {frozenset((f.subject, f.object)) for f in TABLE}
    taken = {f.subject for f in TABLE if f.relation == "plays_sport"}
    for text, answer in only("episodes"):
        *stated, asked = text.removesuffix(" .").split(" . ")
        for statement in stated:
            child, parent = statement.split(" is the child of ")
            assert frozenset((child, parent)) not in pairs
            assert not {child, parent} & taken
        parent, child = asked.split(" is the parent of ")
        assert f"{child} is the child of {parent}" in stated
        assert answer == f"{child} ."


def test_batches_depend_on_the_step_alone():
    first, second = (Mixture(TABLE, TOKENIZER, Sequences(rows=4), seed=5) for _ in range(2))
    late, early = first(150), first(3)
    assert (second(3).tokens == early.tokens).all()
    assert (second(150).targets == late.targets).all()
    assert (Mixture(TABLE, TOKENIZER, Sequences(rows=4), seed=6)(3).tokens != early.tokens).any()


def test_passages_keep_every_sentence_whole():
    lengths = (5, 4, 4, 3, 11, 2, 9)
    sentences = [Document(np.array([0, *[n] * (n - 1)]), np.arange(n) == n - 1) for n in lengths]
    found = list(passages(iter(sentences), 11))
    assert [d.tokens.tolist() for d in found] == [
        [0, 5, 5, 5, 5, 4, 4, 4, 4, 4, 4],
        [0, 3, 3],
        [0, *[11] * 10],
        [0, 2, *[9] * 8],
    ]  # fmt: skip
    assert [np.flatnonzero(d.target).tolist() for d in found] == [[4, 7, 10], [2], [10], [1, 9]]


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"sum to 1, not to 1\.1"):
        Sequences(prose=0.58)
    without = TABLE.with_facts(f for f in TABLE if f.relation != "child_of")
    with pytest.raises(ValueError, match=r"0\.08 of the rows is for one_way"):
        Mixture(without, TOKENIZER, Sequences(), seed=0)
    with pytest.raises(ValueError, match="one_shot"):
        Mixture(FactTable((), TABLE.relations), TOKENIZER, Sequences(), seed=0)
