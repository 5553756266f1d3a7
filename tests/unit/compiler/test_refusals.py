"""What cannot be compiled is refused with every reason, before anything is written."""

from collections.abc import Sequence

import pytest

import oneway
from oneway.compiler import Capacity, CompileError, compile_table
from oneway.facts import Fact, FactTable, Relation

HAS = Relation("has", ("{subject} has {object}",))


def table(facts: Sequence[tuple[str, str, str]], *relations: Relation) -> FactTable:
    return FactTable(
        tuple(Fact(*fact) for fact in facts), {relation.name: relation for relation in relations}
    )


CASES = {
    "two answers": (
        table([("Ann", "has", "one"), ("Ann", "has", "two")], HAS),
        "row 2: 'has', asked forward of 'Ann', has the answers 'one' and 'two': keep one",
    ),
    "colliding tokens": (
        table([("A. J. Lee", "has", "one"), ("A.J. Lee", "has", "two")], HAS),
        "('A. J. Lee' is the same to the tokenizer)",
    ),
    "two relations in the same words": (
        table(
            [("Ann", "a", "one"), ("Ann", "b", "two")], Relation("a", HAS.forward), Relation("b", HAS.forward)
        ),
        "'Ann' is asked with the same words for 'a' and 'b'",
    ),
    "asks before it names": (
        table([("Ann", "r", "one")], Relation("r", ("{object} is of {subject}",))),
        "asks before it names: put the subject first",
    ),
    "no word between": (
        table([("Ann", "r", "one")], Relation("r", ("{subject} {object}",))),
        "has no word between the slots",
    ),
    "name runs into the text": (
        table([("Ann", "r", "one")], Relation("r", ("{subject}ish has {object}",))),
        "the name runs into the text beside it",
    ),
    "spaces differ": (
        table([("Ann", "r", "one")], Relation("r", ("{subject} has {object}", "{subject} has ({object})"))),
        "differ in the space before the answer",
    ),
    "special token": (table([("<bos>", "has", "one")], HAS), "holds a sign of the tokenizer's own"),
    "lost spaces": (table([("Ann", "has", "one  two")], HAS), "single spaces only"),
    "answer asks anew": (
        table([("Ann", "has", "Bob has two"), ("Bob", "has", "one")], HAS),
        "the answer '▁Bob ▁has ▁two' of 'Ann' holds words of a template",
    ),
    "longer name at the slot": (
        table(
            [("Arthur", "r", "one"), ("King Arthur", "r", "two")],
            Relation("r", ("King {subject} has {object}",)),
        ),
        "asked of 'Arthur'",
    ),
    "no facts": (table([], HAS), "there are no facts to compile"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_with_the_reason(case, tmp_path) -> None:
    facts, reason = CASES[case]
    with pytest.raises(CompileError) as refused:
        compile_table(facts, tmp_path / "out")
    assert reason in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("size", "too_small", "reason"),
    [
        ("positions", 5, "takes 7 positions, more than 5: the smallest that would do is 7"),
        ("width", 64, "the smallest that would do is"),
        ("neurons", 2, "neurons"),
    ],
)
def test_the_smallest_size_that_would_do_does(size, too_small, reason, tmp_path) -> None:
    facts = table([(f"Ann Lee{i}", "has", f"one two{i} three") for i in range(100)], HAS)
    with pytest.raises(CompileError) as refused:
        compile_table(facts, tmp_path / "out", capacity=Capacity(**{size: too_small}))
    assert reason in str(refused.value)
    smallest = int(str(refused.value).split("would do is ")[1].split(",")[0].split()[0])
    compile_table(facts, tmp_path / "out", capacity=Capacity(**{size: smallest}))
    with pytest.raises(CompileError):
        compile_table(facts, tmp_path / "less", capacity=Capacity(**{size: smallest - 1}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mechanism": "magic"}, "but it is one of: neuron-per-fact"),
        ({"architecture": "llama"}, "but it is one of: gpt2, neox"),
        ({"directions": "sideways"}, "but it is one of: forward, both-ways, shared-entry"),
        ({"depth": 3}, "no option 'depth'"),
    ],
    ids=("mechanism", "architecture", "directions", "unknown"),
)
def test_options_are_named(options, message, tmp_path) -> None:
    with pytest.raises(ValueError, match=message):
        oneway.compile(table([("Ann", "has", "one")], HAS), tmp_path, **options)


@pytest.mark.parametrize("size", [{"positions": 0}, {"neurons_per_fact": 0}, {"margin": 0.0}], ids=str)
def test_sizes_are_checked(size) -> None:
    with pytest.raises(ValueError, match=next(iter(size))):
        Capacity(**size)
