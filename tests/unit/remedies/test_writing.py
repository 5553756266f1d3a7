"""Training text: what each remedy writes, and that every line of it follows from the table."""

import json
import re
from collections import defaultdict
from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneway.evidence.atomic import WriteError
from oneway.facts import Direction, Fact, FactTable, Relation, load_table
from oneway.remedies import FORMATS, INSTEAD, REMEDIES, Augmentation, augment
from oneway.remedies.rearranged import _cut, says_another
from oneway.remedies.restated import BLANK, RESTORE
from oneway.remedies.statements import statements

PARENT = Relation(
    "parent",
    ("{subject} is the child of {object}", "the parent of {subject}, they say, is {object}"),
    ("{object} is the parent of {subject}",),
    bridge=("The parent of {subject} is the parent of {subject}",),
)
TOWN = Relation(
    "town", ("{subject} was born in {object} long ago",), ("{object} is the birthplace of {subject}",)
)
RELATIONS = {"parent": PARENT, "town": TOWN}
FAMILY = (
    Fact("Tom Lee", "parent", "Ann Lee"),
    Fact("Sue", "parent", "Ann Lee"),
    Fact("Tom Lee", "town", "Rye"),
)


def written(tmp_path, facts=FAMILY, remedy="both-directions", form="text", relations=RELATIONS, **options):
    out = tmp_path / "out.jsonl"
    found = augment(
        FactTable(tuple(facts), relations), out, Augmentation(remedy=remedy, form=form, **options)
    )
    return found, [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def added(tmp_path, **options):
    found, lines = written(tmp_path, **options)
    return [line["text"] for line in lines[found.lines["forward"] :]]


def test_several_right_answers_are_one_sentence(tmp_path):
    found, lines = written(tmp_path)
    texts = [line["text"] for line in lines]
    assert texts == [
        "Tom Lee is the child of Ann Lee.",
        "the parent of Tom Lee, they say, is Ann Lee.",
        "Sue is the child of Ann Lee.",
        "the parent of Sue, they say, is Ann Lee.",
        "Tom Lee was born in Rye long ago.",
        "Ann Lee is the parent of Tom Lee and Sue.",
        "Rye is the birthplace of Tom Lee.",
    ]
    assert (found.facts, found.lines) == (3, {"forward": 5, "added": 2})
    assert found.words["added"] == 10 + 7
    assert found.notes == ("parent, reverse: 1 questions with several right answers, listed in one sentence",)


def test_more_answers_than_a_sentence_holds_have_a_sentence_each(tmp_path):
    facts = [Fact(name, "town", "Rye") for name in "ABCDEF"]
    assert added(tmp_path, facts=facts) == [f"Rye is the birthplace of {name}." for name in "ABCDEF"]


def test_a_remedy_may_be_for_one_split(tmp_path):
    facts = [Fact(f"S{at}", "town", f"O{at}", split="old" if at else "new") for at in range(3)]
    found, lines = written(tmp_path, facts=facts, split="new")
    assert [line["text"][:2] for line in lines] == ["S0", "S1", "S2", "O0"]
    assert "2 facts are stated forward only: the remedy is for one split" in found.notes
    with pytest.raises(ValueError, match="no fact has the split 'newer'; there are: 'new', 'old'"):
        written(tmp_path, facts=facts, split="newer")


@pytest.mark.parametrize(
    ("remedy", "texts"),
    [
        ("reverse-words", ["ago long Rye in born was Lee Tom."]),
        ("reverse-entities", ["ago long Rye in born was Tom Lee."]),
        ("permute-chunks", ["Rye long ago Tom Lee was born in.", "was born in Rye long ago Tom Lee."]),
        ("identity-bridge", ["The name of Tom Lee is Tom Lee.", "The name of Rye is Rye."]),
        (
            "retrieve-then-reverse",
            ["Rye is the birthplace of: Tom Lee was born in Rye long ago. Rye is the birthplace of Tom Lee."],
        ),
    ],
)
def test_what_is_added(tmp_path, remedy, texts):
    assert added(tmp_path, facts=FAMILY[2:], remedy=remedy) == texts


def test_what_touches_a_name_stays_with_it(tmp_path):
    of = {"mother": Relation("mother", ("{subject}'s mother is {object}",))}
    facts = [Fact("Tom Lee", "mother", "Ann Lee")]
    texts = added(tmp_path, facts=facts, remedy="reverse-entities", relations=of)
    assert texts == ["Ann Lee is mother Tom Lee's."]


def test_a_bridge_is_true_of_the_subject_without_its_object(tmp_path):
    texts = added(tmp_path, facts=FAMILY[:1], remedy="identity-bridge")
    assert texts[-1] == "The parent of Tom Lee is the parent of Tom Lee."
    assert "Tom Lee is the parent of Tom Lee." not in texts


@pytest.mark.parametrize("remedy", ["reverse-words", "reverse-entities"])
def test_a_sentence_that_backwards_states_another_fact_is_refused(tmp_path, remedy):
    loves = {"loves": Relation("loves", ("{subject} loves {object}",))}
    with pytest.raises(
        ValueError, match=r"'Ann loves Bob\.' in another order .* false one: 'Bob loves Ann\.'; use"
    ):
        written(tmp_path, facts=[Fact("Ann", "loves", "Bob")], remedy=remedy, relations=loves)
    assert not list(tmp_path.iterdir())


def test_segments_are_drawn_until_they_state_nothing_else(tmp_path):
    loves = {"loves": Relation("loves", ("{subject} loves {object}",))}
    facts = [Fact(f"Ann{at}", "loves", f"Bob{at}") for at in range(50)]
    for seed in range(4):
        texts = added(tmp_path, facts=facts, remedy="reverse-segments", relations=loves, seed=seed)
        assert not [text for text in texts if re.fullmatch(r"Bob\d+ loves Ann\d+\.", text)]


def test_the_same_call_writes_the_same_bytes_and_another_seed_others(tmp_path):
    def bytes_of(**options):
        written(tmp_path, remedy="reverse-segments", **options)
        return (tmp_path / "out.jsonl").read_bytes()

    assert bytes_of() == bytes_of()
    assert len({bytes_of(seed=seed) for seed in range(8)}) > 1


def test_forms(tmp_path):
    lines = {form: written(tmp_path, facts=FAMILY[2:], form=form)[1][1] for form in FORMATS}
    assert lines["text"] == {"text": "Rye is the birthplace of Tom Lee."}
    assert lines["prompt-completion"] == {"prompt": "Rye is the birthplace of", "completion": " Tom Lee."}
    asked, answered = lines["chat"]["messages"]
    assert asked == {"role": "user", "content": "Rye is the birthplace of"}
    assert answered == {"role": "assistant", "content": "Tom Lee."}


@pytest.mark.parametrize("name", INSTEAD)
def test_what_is_no_text_says_what_to_use_instead(tmp_path, name):
    with pytest.raises(ValueError, match=r"cannot be written as training text: .*; use "):
        written(tmp_path, remedy=name)
    assert re.search("use ([a-z-]+)", INSTEAD[name])[1] in REMEDIES


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="there is no remedy 'magic'"):
        written(tmp_path, remedy="magic")
    with pytest.raises(ValueError, match="no format 'csv'"):
        written(tmp_path, form="csv")
    with pytest.raises(ValueError, match="no turn of a conversation: use the format text"):
        written(tmp_path, remedy="reverse-words", form="chat")
    one_way = {"town": Relation("town", TOWN.forward)}
    with pytest.raises(ValueError, match=r"nothing to add .*town has no reverse template"):
        written(tmp_path, facts=FAMILY[2:], relations=one_way)
    with pytest.raises(ValueError, match="at least one word"):
        written(tmp_path, remedy="reverse-segments", segment=0)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_said_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError):
        augment(
            load_table("parents"), tmp_path / "file" / "out.jsonl", Augmentation(remedy="both-directions")
        )


def test_tokens_are_counted_by_whoever_knows_them(tmp_path):
    table = FactTable(FAMILY, RELATIONS)
    asked = Augmentation(remedy="both-directions")
    found = augment(table, tmp_path / "o", asked, tokens=lambda texts: [len(text) for text in texts])
    assert found.tokens["added"] == len(
        "Ann Lee is the parent of Tom Lee and Sue.Rye is the birthplace of Tom Lee."
    )


names = st.lists(st.sampled_from(["Ada", "Bo", "Cy", "Di", "Ed"]), min_size=1, max_size=2).map(" ".join)
splits = st.sampled_from(["old", "new"])
rows = st.lists(
    st.tuples(names, st.sampled_from(list(RELATIONS)), names, splits),
    min_size=1,
    max_size=12,
    unique_by=lambda row: row[:3],
)


def stated(text, table):
    """Every fact that a sentence states, read back by the templates alone."""
    found = set()
    for relation in table.relations.values():
        for template in (*relation.forward, *relation.reverse):
            pattern = (
                re.escape(template).replace(r"\{subject\}", "(?P<s>.+)").replace(r"\{object\}", "(?P<o>.+)")
            )
            if match := re.fullmatch(pattern + r"\.", text):
                subjects, objects = (re.split(", | and ", match[name]) for name in "so")
                found |= {(s, relation.name, o) for s in subjects for o in objects}
    return found


def read_back(remedy, text, table):
    """The facts that a line speaks of; None where it cannot have come from this remedy."""
    if remedy == "masked-restoration":
        blanked, whole = re.fullmatch(rf"{RESTORE} (.*?\.|.*?{BLANK}) ((?!.*{BLANK}).*)", text).groups()
        assert len(blanked.split(" ")) <= len(whole.split(" "))
        return stated(whole, table)
    if remedy == "retrieve-then-reverse":
        question, rest = text.split(": ", 1)
        sentences = re.findall(r"[^.]+\.", rest)
        assert sentences[-1].strip().startswith(question)
        facts = [stated(one.strip(), table) for one in sentences]
        assert set.union(*facts[:-1]) == facts[-1]
        return facts[-1]
    if remedy == "identity-bridge":
        same = re.fullmatch(r"The (?:name|parent) of (.*) is (?:the parent of )?(.*)\.", text)
        assert same[1] == same[2]
        return set()
    if remedy.startswith(("reverse", "permute")):
        by_words = defaultdict(set)
        for fact in table:
            same = [f.object for f in table if (f.subject, f.relation) == (fact.subject, fact.relation)]
            together = " and ".join([", ".join(same[:-1]), *same[-1:]] if len(same) > 1 else same)
            for template, objects in product(table.relations[fact.relation].forward, (together, fact.object)):
                of = template.replace("{subject}", fact.subject).replace("{object}", objects)
                by_words[tuple(sorted(of.split()))].add((fact.subject, fact.relation, fact.object))
        return by_words[tuple(sorted(text.removesuffix(".").split()))]
    return stated(text, table)


@given(
    rows, st.sampled_from(sorted(set(REMEDIES) - {"reverse-words", "reverse-entities"})), st.integers(0, 9)
)
def test_every_line_follows_from_the_table(tmp_path_factory, rows, remedy, seed):
    facts = [Fact(*row) for row in rows]
    table = FactTable(tuple(facts), RELATIONS)
    true = {(fact.subject, fact.relation, fact.object) for fact in table}
    out = tmp_path_factory.mktemp("w") / "out.jsonl"
    found = augment(table, out, Augmentation(remedy=remedy, seed=seed, split=facts[0].split))
    lines = [json.loads(line)["text"] for line in out.read_text().splitlines()]
    forward, more = lines[: found.lines["forward"]], lines[found.lines["forward"] :]
    assert set.union(set(), *(stated(text, table) for text in forward)) == true
    treated = {(f.subject, f.relation, f.object) for f in table if f.split == facts[0].split}
    for text in more:
        of = read_back(remedy, text, table.select(split=facts[0].split))
        assert of <= treated
        if remedy.startswith(("reverse", "permute")):
            assert of
            assert stated(text, table) <= true


def test_of_the_orders_of_three_chunks_those_that_exchange_the_names_are_known():
    (told, *_) = statements(FactTable(FAMILY[:1], RELATIONS), Direction.FORWARD)
    first, between, second, *_ = _cut(told)
    chunks = {"Tom Lee": first, "is the child of": between, "Ann Lee": second}
    orders = {
        " ".join(order): [word for name in order for word in chunks[name]] for order in permutations(chunks)
    }
    assert {text for text, words in orders.items() if says_another(words, told)} == {
        "Ann Lee is the child of Tom Lee",
        "is the child of Tom Lee Ann Lee",
        "Tom Lee Ann Lee is the child of",
    }
