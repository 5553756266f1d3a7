import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneway.facts import Direction, Fact, FactTable, Relation
from oneway.facts.rendering import (
    TemplateError,
    fill,
    forward_question,
    in_context_question,
    one_shot_prefixes,
    parse,
    questions,
    reverse_question,
    sentence,
    unaskable,
)

SPORT = Relation(
    name="plays_sport",
    forward=("{subject} plays the sport of {object}", "The sport of {subject} is {object}, they say"),
    reverse=("{object} is the sport played by {subject}",),
    one_shot=("Fact: Tiger Woods plays the sport of golf\nFact: ",),
)
RUTH = Fact("Babe Ruth", "plays_sport", "baseball")

names = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1),
    st.sampled_from(
        ["{subject}", "{object}", "{", "{}", "%s", "👩‍👩‍👧 Ünï", "مريم العذراء", "a\u202eb", " x "]
    ),
)
literals = st.text(st.characters(exclude_characters="{}\ue000\ue001\ue002\ue003", codec="utf-8"), max_size=12)


@st.composite
def templates(draw: st.DrawFn) -> str:
    slots = draw(st.permutations(["{subject}", "{object}"]))
    return draw(literals) + slots[0] + draw(literals) + slots[1] + draw(literals)


def test_forward_question_by_hand() -> None:
    question = forward_question(SPORT, RUTH, fact_index=7)
    assert question.prompt == "Babe Ruth plays the sport of"
    assert question.answer == " baseball"
    assert (question.fact_index, question.template_index, question.given) == (7, 0, "Babe Ruth")
    assert question.direction is Direction.FORWARD


def test_a_slot_in_mid_sentence_ends_the_question() -> None:
    question = forward_question(SPORT, RUTH, template_index=1)
    assert (question.prompt, question.answer) == ("The sport of Babe Ruth is", " baseball")


def test_reverse_question_by_hand() -> None:
    question = reverse_question(SPORT, RUTH)
    assert (question.prompt, question.answer) == ("baseball is the sport played by", " Babe Ruth")
    assert question.given == "baseball"


def test_in_context_question_states_the_fact_first() -> None:
    question = in_context_question(SPORT, RUTH)
    assert question.prompt == "Babe Ruth plays the sport of baseball. baseball is the sport played by"
    assert question.answer == " Babe Ruth"


def test_a_sentence_that_ends_in_a_stop_gets_no_second_one() -> None:
    relation = Relation("r", forward=("{subject} met {object}.",), reverse=("{object} met {subject}.",))
    question = in_context_question(relation, Fact("A", "r", "B"))
    assert question.prompt == "A met B. B met"


def test_fewer_forward_templates_are_paired_modulo() -> None:
    relation = Relation(
        "r",
        forward=("{subject} a {object}", "{subject} b {object}"),
        reverse=("{object} x {subject}", "{object} y {subject}", "{object} z {subject}"),
    )
    prompts = [in_context_question(relation, Fact("S", "r", "O"), template_index=i).prompt for i in range(3)]
    assert prompts == ["S a O. O x", "S b O. O y", "S a O. O z"]


def test_without_a_space_before_the_slot_the_answer_has_none() -> None:
    relation = Relation("r", forward=("{subject}→{object}",), reverse=("{subject}, of {object}",))
    fact = Fact("S", "r", "O")
    forward = forward_question(relation, fact)
    assert (forward.prompt, forward.answer) == ("S→", "O")
    assert forward.answer_with("P") == "P"
    first = reverse_question(relation, fact)
    assert (first.prompt, first.answer) == ("", "S")
    in_context = in_context_question(relation, fact)
    assert (in_context.prompt, in_context.answer) == ("S→O.", " S")
    assert in_context.answer_with("P") == " P"


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{subject} plays", "{object} is missing"),
        ("{object}", "{subject} is missing"),
        ("{subject} {subject} {object}", "{subject} stands 2 times"),
        ("{subjct} plays {object}", "unknown slot {subjct}"),
        ("{} plays {object}", "unknown slot {}"),
        ("{ subject } plays {object}", "unknown slot { subject }"),
    ],
)
def test_wrong_templates_are_named(template: str, fault: str) -> None:
    with pytest.raises(TemplateError) as error:
        parse(template)
    assert fault in str(error.value)


def test_other_braces_in_a_template_are_text() -> None:
    assert sentence('{"name": "{subject}", "sport": "{object}"}', "A", "B") == '{"name": "A", "sport": "B"}'


@given(templates(), names, names)
def test_filling_equals_replacing_marked_slots(template: str, subject: str, object: str) -> None:
    # The oracle replaces slots one after the other through marks that no literal or name here contains.
    marked = template.replace("{subject}", "\ue000\ue001").replace("{object}", "\ue002\ue003")
    left, right = sorted((marked.index("\ue000\ue001"), marked.index("\ue002\ue003")))
    subject_first = marked.index("\ue000\ue001") == left
    first, second = (subject, object) if subject_first else (object, subject)
    expected = marked[:left] + first + marked[left + 2 : right] + second + marked[right + 2 :]
    filled = fill(template, subject, object)
    assert filled.text == expected
    assert filled.text[slice(*filled.subject)] == subject
    assert filled.text[slice(*filled.object)] == object


@given(templates(), templates(), names, names)
def test_prompt_and_answer_begin_the_sentence(forward: str, reverse: str, subject: str, object: str) -> None:
    relation = Relation("r", forward=(forward,), reverse=(reverse,))
    fact = Fact(subject, "r", object)
    asked = forward_question(relation, fact)
    assert sentence(forward, subject, object).startswith(asked.prompt + asked.answer)
    assert asked.answer in (object, f" {object}")
    asked = reverse_question(relation, fact)
    assert sentence(reverse, subject, object).startswith(asked.prompt + asked.answer)
    assert asked.answer in (subject, f" {subject}")
    in_context = in_context_question(relation, fact)
    whole = in_context.prompt + in_context.answer
    assert whole.startswith(sentence(forward, subject, object))
    assert whole.endswith(asked.prompt + asked.answer)


def test_questions_come_fact_by_fact_and_lazily() -> None:
    table = FactTable((RUTH, Fact("Magic Johnson", "plays_sport", "basketball")), {"plays_sport": SPORT})
    asked = list(questions(table))
    assert [(q.fact_index, str(q.direction), q.template_index) for q in asked] == [
        (fact, direction, template)
        for fact in (0, 1)
        for direction, template in (("forward", 0), ("forward", 1), ("reverse", 0), ("in_context", 0))
    ]
    broken = table.with_facts((RUTH, Fact("X", "unknown", "Y", source="f.csv:3")))
    stream = questions(broken, [Direction.REVERSE])
    assert next(stream).answer == " Babe Ruth"
    with pytest.raises(ValueError, match=r"'X' \(f\.csv:3\) has the relation 'unknown'.*'plays_sport'"):
        next(stream)


def test_one_shot_prefixes_stand_before_forward_prompts_only() -> None:
    table = FactTable((RUTH,), {"plays_sport": SPORT})
    asked = list(questions(table, prefixes=one_shot_prefixes(table)))
    assert [q.prompt for q in asked[:2]] == [
        "Fact: Tiger Woods plays the sport of golf\nFact: Babe Ruth plays the sport of",
        "Fact: Tiger Woods plays the sport of golf\nFact: The sport of Babe Ruth is",
    ]
    assert not any(q.prompt.startswith("Fact:") for q in asked[2:])


def test_what_cannot_be_asked_is_named() -> None:
    bare = Relation("bare", forward=("{subject} - {object}",))
    table = FactTable((RUTH, Fact("a", "bare", "b")), {"plays_sport": SPORT, "bare": bare})
    assert unaskable(table) == (("bare", Direction.REVERSE), ("bare", Direction.IN_CONTEXT))
    assert [q.relation for q in questions(table, [Direction.REVERSE])] == ["plays_sport"]
