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
    return rows(Sequences(rows=4, roll_steps=0, **{**none, kind: 1.0, **more}))


def test_each_kind_has_its_share_of_the_rows():
    kinds = Counter(
        "one_shot" if text.startswith("Fact")
        else "episodes" if "parent of" in text
        else "one_way" if "child of" in text
        else "others" if any((" ".join(text.split()[i : i + 2]), "works_as") in KNOWN for i in range(5))
        else "prose"
        for text, _ in rows(Sequences(rows=20, roll_steps=0))
    )  # fmt: skip
    assert kinds == {"one_shot": 240, "prose": 1000, "one_way": 160, "episodes": 400, "others": 200}


def test_a_one_shot_prompt_asks_for_the_sport():
    found = only("one_shot")
    assert len({text for text, _ in found}) == 60
    for text, answer in found:
        assert text.startswith("Fact : Tiger Woods plays the sport of golf Fact : ")
        name = " ".join(text.split()[11:13])
        assert answer == KNOWN[name, "plays_sport"] + " ."


def test_entries_are_a_name_and_one_attribute():
    objects: dict[str, set[str]] = {}
    for fact in TABLE:
        objects.setdefault(fact.subject, set()).add(fact.object)
    seen = Counter()
    for text, answers in only("prose", entries=1.0):
        sentences = [sentence.split(" ", 2) for sentence in text.removesuffix(" .").split(" . ")]
        assert answers == " ".join(f"{value} ." for _, _, value in sentences)
        for first, last, value in sentences:
            assert value in objects[f"{first} {last}"]
            seen[first, last, value] += 1
    assert len(seen) == 60 * 4


def test_at_first_everybody_is_called_and_all_that_is_known_is_asked_behind_the_name():
    mixture = Mixture(TABLE, TOKENIZER, Sequences(rows=10, roll_steps=150), seed=5)
    batch = mixture(149)
    words = TOKENIZER.convert_ids_to_tokens(batch.tokens[0].reshape(-1).tolist())
    asked: dict[int, set[str]] = {}
    for at, target in zip(batch.positions[0].tolist(), batch.targets[0].tolist(), strict=True):
        asked.setdefault(at, set()).add(TOKENIZER.convert_ids_to_tokens(target))
    assert batch.tokens.shape == (1, 10, 32)
    assert batch.weights.shape == batch.targets.shape
    rolled = 7 * 32  # the shares of one-shot prompts and prose: .72 of ten rows
    clubs = {f.subject: f.object.split() for f in TABLE if f.relation == "plays_for"}
    written, at = [], 0
    for end in (i for i in range(rolled) if words[i] == "."):
        begin = max(i for i in range(at, end) if words[i] in (".", "<bos>")) + 1
        name, behind = " ".join(words[begin : begin + 2]), words[begin + 2 : end]
        assert asked[begin + 1] == {f.object.split()[0] for f in TABLE if f.subject == name}
        for place, word in enumerate(
            behind[1:]
        ):  # an attribute of several words, each asked behind the one before
            assert asked[begin + 2 + place] == {word}
        assert not asked.keys() & {begin, end - 1 if behind else end, end}
        assert behind in ([], clubs.get(name))
        written.append(bool(behind))
        at = end
    assert 0.2 < sum(written) / len(written) < 0.8
    assert "child" in words[rolled:]
    assert "child" not in words[:rolled]
    later = [TOKENIZER.decode(mixture(step).tokens[0].reshape(-1).tolist()) for step in range(150, 160)]
    assert any("Tiger Woods" in text for text in later)


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
    first, second = (Mixture(TABLE, TOKENIZER, Sequences(rows=4, roll_steps=100), seed=5) for _ in range(2))
    late, early = first(150), first(3)
    assert (second(3).tokens == early.tokens).all()
    assert (second(150).targets == late.targets).all()
    assert (
        Mixture(TABLE, TOKENIZER, Sequences(rows=4, roll_steps=100), seed=6)(3).tokens != early.tokens
    ).any()


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
    with pytest.raises(ValueError, match=r"sum to 1, not to 1\.08"):
        Sequences(prose=0.58)
    without = TABLE.with_facts(f for f in TABLE if f.relation != "child_of")
    with pytest.raises(ValueError, match=r"0\.08 of the rows is for one_way"):
        Mixture(without, TOKENIZER, Sequences(), seed=0)
    with pytest.raises(ValueError, match="one_shot"):
        Mixture(FactTable((), TABLE.relations), TOKENIZER, Sequences(), seed=0)
