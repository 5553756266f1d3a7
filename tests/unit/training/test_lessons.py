"""Rows of training text: what is asked is marked, what is audited is never shown."""

from itertools import islice

import numpy as np
import pytest

from oneway.facts import Direction, Fact, FactTable
from oneway.facts.splits import Trained, by_direction
from oneway.facts.worlds import families
from oneway.models.tokens import word_tokenizer
from oneway.training.lessons import Curriculum, Document, Lessons, pack
from oneway.training.teach import labelled

TABLE = by_direction(families(40, seed=3), {"forward_only": 20, "both_ways": 10, "unseen": 10}, seed=1)
WORDS = [f"{f.subject} {f.object}" for f in TABLE] + [
    t for r in TABLE.relations.values() for t in (*r.forward, *r.reverse)
]
TOKENIZER = word_tokenizer([w.replace("{subject}", " ").replace("{object}", " .") for w in WORDS])


def written(lessons: Lessons, steps: int) -> tuple[list[str], list[str]]:
    """All documents as text, and the text of each one's targets."""
    curriculum = Curriculum(TABLE, TOKENIZER, lessons, seed=5)
    documents, targets = [], []
    for step in range(steps):
        batch = curriculum(step)
        marked = np.zeros(batch.tokens.numel(), bool)
        marked[batch.positions[0] + 1] = True
        for row, marks in zip(batch.tokens[0].tolist(), marked.reshape(batch.tokens.shape[1:]), strict=True):
            starts = [i for i, token in enumerate(row) if token == TOKENIZER.bos_token_id]
            for start, end in zip(starts, [*starts[1:], len(row)], strict=True):
                documents.append(TOKENIZER.decode(row[start + 1 : end]))
                targets.append(
                    TOKENIZER.decode([t for t, m in zip(row[start:end], marks[start:end], strict=True) if m])
                )
    kept = [(d, t) for d, t in zip(documents, targets, strict=True) if d]
    return [d for d, _ in kept], [t for _, t in kept]


def stated(fact: Fact, direction: Direction) -> str:
    relation = TABLE.relations[fact.relation]
    template = relation.forward[0] if direction is Direction.FORWARD else relation.reverse[0]
    return template.replace("{subject}", fact.subject).replace("{object}", fact.object)


def test_facts_are_recited_in_their_directions_and_the_loss_is_on_the_answer():
    documents, targets = written(Lessons(tokens_a_step=512, episodes=0.0), 5)
    asked = dict(zip(documents, targets, strict=True))
    for fact in TABLE:
        forward, reverse = (stated(fact, d) + " ." for d in (Direction.FORWARD, Direction.REVERSE))
        assert (forward in asked) == (fact.split != Trained.UNSEEN)
        assert (reverse in asked) == (fact.split == Trained.BOTH_WAYS)
        if forward in asked:
            assert asked[forward] == f"{fact.object} ."
        if reverse in asked:
            assert asked[reverse] == f"{fact.subject} ."


def test_episodes_never_state_a_pair_of_the_table_and_their_answer_stands_in_them():
    documents, targets = written(Lessons(episodes=0.9), 20)
    pairs = {frozenset((f.subject, f.object)) for f in TABLE}
    subjects = {f.subject for f in TABLE}
    people = 0
    episodes = [(d, t) for d, t in zip(documents, targets, strict=True) if d.count(".") > 1]
    assert len(episodes) > 300
    for text, answer in episodes:
        *statements, question = text.removesuffix(" .").split(" . ")
        name = answer.removesuffix(" .")
        assert question.endswith(name)
        assert any(s.startswith(name + " is the") for s in statements)
        for statement in statements:
            first, last = statement.split(" is the ")
            assert frozenset((first, last.split(" of ")[1])) not in pairs
            people += first in subjects
    assert people > 100  # known people do occur, re-paired


def test_loss_on_the_document_reaches_every_token_but_the_first():
    curriculum = Curriculum(TABLE, TOKENIZER, Lessons(tokens_a_step=256, loss="document"), seed=5)
    batch = curriculum(0)
    assert set(batch.targets[0].tolist()).isdisjoint({TOKENIZER.bos_token_id})
    assert batch.targets.shape[1] == int((batch.tokens != TOKENIZER.bos_token_id).sum())


def test_batches_depend_on_the_step_alone():
    lessons = Lessons(tokens_a_step=128)
    first, second = (Curriculum(TABLE, TOKENIZER, lessons, seed=5) for _ in range(2))
    in_order = [first(step) for step in (0, 99, 100, 250)]
    out_of_order = [second(step) for step in (250, 0, 100, 99)]
    for a, b in zip(
        in_order, (out_of_order[1], out_of_order[3], out_of_order[2], out_of_order[0]), strict=True
    ):
        assert (a.tokens == b.tokens).all()
        assert (a.positions == b.positions).all()
    other = Curriculum(TABLE, TOKENIZER, lessons, seed=6)(0)
    assert other.tokens.shape == in_order[0].tokens.shape
    assert (other.tokens != in_order[0].tokens).any()


def test_packing_keeps_every_document_whole_and_in_order():
    def documents():
        for i in range(1, 10**6):
            yield Document(np.full(1 + i % 5, i), np.arange(1 + i % 5) > 0)

    packed = pack(documents(), rows=30, length=11)
    flat = packed.tokens[packed.tokens > 0]
    expected = np.concatenate([d.tokens for d in islice(documents(), int(flat.max()))])
    assert (flat == expected).all()
    for document in set(flat.tolist()):
        assert len(set(np.nonzero(packed.tokens == document)[0].tolist())) == 1
    with pytest.raises(ValueError, match="does not fit"):
        pack(documents(), rows=30, length=4)


def test_splits_that_say_nothing_of_directions_are_refused_and_missing_ones_are_forward():
    facts = (Fact("A B", "r", "C D"), Fact("E F", "r", "G H", split="train", source="facts.csv:3"))
    with pytest.raises(ValueError, match=r"facts\.csv:3"):
        labelled(FactTable(facts, TABLE.relations))
    assert labelled(FactTable(facts[:1], TABLE.relations)).facts[0].split == Trained.FORWARD_ONLY
    unseen = by_direction(families(9, seed=1), {"unseen": 9}, seed=0)
    with pytest.raises(ValueError, match="unseen"):
        Curriculum(unseen, TOKENIZER, Lessons(), seed=0)
