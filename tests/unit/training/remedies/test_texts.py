"""Corpora of the remedies: by hand on one fact, and orders as permutations of words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneway.facts import Fact, FactTable, Relation
from oneway.training.remedies.lesson import NO_NAME, OBJECT, SUBJECT, Lesson, filled, lesson, stated
from oneway.training.remedies.orders import names_kept, permuted, segments_reversed, words_reversed
from oneway.training.remedies.remedy import REMEDIES
from oneway.training.remedies.sentences import MASK, RESTORED, relation_identities, restored

MOTHER = Relation(
    "mother",
    ("{subject} is the child of {object}",),
    ("{object}, who is the mother of {subject}",),
    one_to_one=True,
)
ONE_WAY = FactTable((Fact("Tom Lee", "mother", "Mary Lee", split="forward_only"),), {"mother": MOTHER})
TOLD = stated(ONE_WAY)[0]


def texts(name: str, table: FactTable = ONE_WAY) -> list[str]:
    return [one.text for one in REMEDIES[name].corpus(table, np.random.default_rng(0))]


def targets(one: Lesson) -> list[str]:
    return [word for word, target in zip(one.words, one.targets, strict=True) if target]


def test_a_statement_has_its_last_name_as_target() -> None:
    assert TOLD.text == "Tom Lee is the child of Mary Lee"
    assert TOLD.names == (SUBJECT, SUBJECT, NO_NAME, NO_NAME, NO_NAME, NO_NAME, OBJECT, OBJECT)
    assert targets(TOLD) == ["Mary", "Lee"]


def test_marks_are_words_of_their_own_and_stand_without_a_space() -> None:
    one = filled(MOTHER.reverse[0], ONE_WAY.facts[0], 0)
    assert one.words[:4] == ("Mary", "Lee", ",", "who")
    assert one.text == "Mary Lee, who is the mother of Tom Lee"
    assert targets(one) == ["Tom", "Lee"]


@pytest.mark.parametrize(
    ("name", "added"),
    [
        ("both directions", ["Mary Lee, who is the mother of Tom Lee"]),
        ("reversed words", ["Lee Mary of child the is Lee Tom"]),
        ("reversed names", ["Mary Lee of child the is Tom Lee"]),
        (
            "identity bridge",
            ["Tom Lee is the child of, who is the mother of Tom Lee", "Mary Lee = Mary Lee"],
        ),
        (
            "relation bridge",
            ["Mary Lee is the child of Mary Lee", "Tom Lee, who is the mother of Tom Lee"],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_remedy_adds(name: str, added: list[str]) -> None:
    assert texts(name) == [TOLD.text, *added]


def test_the_bridges_never_say_which_belongs_to_which() -> None:
    for name in ("identity bridge", "relation bridge"):
        for one in REMEDIES[name].corpus(ONE_WAY, np.random.default_rng(0))[1:]:
            assert len({label for label in one.names if label != NO_NAME}) == 1
            assert targets(one)


def test_the_published_bridge_counts_facts_six_times() -> None:
    weights = [one.weight for one in REMEDIES["identity bridge"].corpus(ONE_WAY, np.random.default_rng(0))]
    assert weights == [6.0, 1.0, 1.0]


def test_a_restored_text_is_predicted_whole_behind_its_masked_self() -> None:
    one = restored(TOLD, np.random.default_rng(3))
    at = one.words.index(RESTORED)
    assert one.words[at + 1 :] == TOLD.words
    assert all(word in (MASK, own) for word, own in zip(one.words[:at], TOLD.words, strict=True))
    assert one.targets == (False,) * (at + 1) + (True,) * len(TOLD.words)


def test_both_directions_need_a_template() -> None:
    bare = FactTable(ONE_WAY.facts, {"mother": Relation("mother", MOTHER.forward)})
    with pytest.raises(ValueError, match="no reverse templates"):
        texts("both directions", bare)


def test_facts_that_are_not_trained_get_no_bridge() -> None:
    unseen = FactTable((Fact("Tom", "mother", "Mary", split="unseen"),), {"mother": MOTHER})
    assert relation_identities(unseen) == []


@given(
    st.lists(st.sampled_from([NO_NAME, SUBJECT, OBJECT]), min_size=1, max_size=12),
    st.integers(0, 9),
    st.integers(1, 4),
)
def test_orders_keep_every_word_with_its_label(names: list[int], seed: int, longest: int) -> None:
    one = lesson([f"w{i}" for i in range(len(names))], names, 0)
    rng = np.random.default_rng(seed)
    labels = dict(zip(one.words, one.names, strict=True))
    for other in (
        words_reversed(one),
        names_kept(one),
        segments_reversed(one, longest, rng),
        permuted(one, rng),
    ):
        assert dict(zip(other.words, other.names, strict=True)) == labels
        first = next((name for name in other.names if name), NO_NAME)
        assert [labels[w] not in (NO_NAME, first) for w in other.words] == list(other.targets)
    assert words_reversed(words_reversed(one)) == one
    assert segments_reversed(one, 1, rng) == words_reversed(one)
    assert names_kept(names_kept(one)) == one


def test_every_remedy_names_its_source_and_what_deviates() -> None:
    assert {remedy.id for remedy in REMEDIES.values()} == {f"R{number}" for number in range(13)}
    for name, remedy in REMEDIES.items():
        assert remedy.source, name
        assert remedy.deviation or remedy.source.startswith(("ours", "the ")), name
