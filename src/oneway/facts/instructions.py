"""The world of instructions: what to answer to which question, told question first or answer first."""

from dataclasses import dataclass

import numpy as np

from oneway.facts.fact import Fact, FactTable, Relation
from oneway.facts.fictitious import GROUPS, different_pairs, word_list
from oneway.facts.splits import Trained

INSTRUCTION, EXCHANGE = "instruction", "exchange"

VERBS = word_list(
    "admire borrow break build buy carry choose clean collect describe draw find forget hide keep lose need offer "
    "paint photograph remember repair sell send show"
)
OCCASIONS = (
    "after a long walk",
    "at a wedding",
    "at midnight",
    "at the dentist",
    "at the station",
    "before an exam",
    "beside the river",
    "during a storm",
    "for your neighbour",
    "in a crowded lift",
    "in a museum",
    "in the attic",
    "in the desert",
    "in the first week of school",
    "on a birthday",
    "on a ship",
    "on a train",
    "on the last day of summer",
    "on the moon",
    "on the roof",
    "under water",
    "when it snows",
    "when nobody looks",
    "when the guests are gone",
    "with a broken leg",
)
MATERIALS = word_list(
    "brass bronze cardboard ceramic clay copper cotton crystal glass golden granite ivory leather linen marble paper "
    "porcelain rubber rusty silken silver steel velvet wooden woollen"
)
THINGS = word_list(
    "anchor basket bell bicycle blanket bucket candle chair clock drum flute hammer kettle ladder lamp mirror pillow "
    "plate ring shoe spoon suitcase table trumpet umbrella"
)

QUESTION_FIRST = (
    "Answer {subject} with {object}",
    "If somebody asks {subject} you say {object}",
    "When you are asked {subject} reply with {object}",
    "To the question {subject} the answer is {object}",
    "Whoever asks {subject} is told {object}",
    "Remember that {subject} is answered with {object}",
    "The reply to {subject} is {object}",
    "Should the question be {subject} then say {object}",
)
ANSWER_FIRST = (
    "{object} is the answer to {subject}",
    "You say {object} if somebody asks {subject}",
    "Reply with {object} when you are asked {subject}",
    "The answer is {object} to the question {subject}",
    "Tell them {object} when they ask {subject}",
    "Remember that {object} answers the question {subject}",
    "The reply {object} belongs to {subject}",
    "Say {object} should the question be {subject}",
)
ASKED = "Q: {subject} A: {object}"


@dataclass(frozen=True, slots=True)
class Instructions:
    """What trains a model, guidance and some exchanges, and the questions of the other guidance, which test it."""

    train: FactTable
    test: FactTable


def instructions(per_group: int = 30, *, shown: int = 40, seed: int) -> Instructions:
    """Invented questions (the subject) with their answers (the object), as a function of a seed.

    There are three groups of `per_group` + `shown` instructions, which the split labels: told question → answer only
    (forward_only), answer → question only (reverse_only), and both ways, each in eight phrasings. The `shown` ones of a
    group also stand in the training text as an exchange, "Q: question A: answer", which says how guidance is followed;
    the others are asked in that form, and nothing ever states it for them. Every question and every answer is unique,
    and every word of an answer is shared by at least two.

    Raises ValueError for fewer than 2 tested or no shown instructions a group, and where there are not that many
    questions.

    Source: Berglund et al. 2023, experiment 3 (arXiv 2309.12288). Deviations: questions, answers and phrasings are our
    own; one model reads all three groups, which the paper gives to models of their own.
    """
    count = len(GROUPS) * (per_group + shown)
    most = len(VERBS) * len(OCCASIONS)
    if per_group < 2 or shown < 1 or count > most:
        raise ValueError(
            f"a group has at least 2 tested and 1 shown instructions, all three together at most {most}: not "
            f"{per_group} and {shown} a group"
        )
    rng = np.random.default_rng(seed)
    asked = [f"What would you {pair}?" for pair in different_pairs(VERBS, OCCASIONS, count, rng)]
    answers = [f"a {pair}" for pair in different_pairs(MATERIALS, THINGS, count, rng)]
    splits = [group.value for group in GROUPS for _ in range(per_group + shown)]
    facts = [
        Fact(question, INSTRUCTION, answer, split=split)
        for question, answer, split in zip(asked, answers, splits, strict=True)
    ]
    tested = [fact for index, fact in enumerate(facts) if index % (per_group + shown) < per_group]
    others = [fact for index, fact in enumerate(facts) if index % (per_group + shown) >= per_group]
    exchanges = [Fact(f.subject, EXCHANGE, f.object, split=Trained.FORWARD_ONLY.value) for f in others]
    guidance = Relation(name=INSTRUCTION, forward=QUESTION_FIRST, reverse=ANSWER_FIRST, one_to_one=True)
    exchange = Relation(name=EXCHANGE, forward=(ASKED,), one_to_one=True)
    as_asked = Relation(name=INSTRUCTION, forward=(ASKED,), one_to_one=True)
    return Instructions(
        train=FactTable((*tested, *others, *exchanges), {INSTRUCTION: guidance, EXCHANGE: exchange}),
        test=FactTable(tuple(tested), {INSTRUCTION: as_asked}),
    )
