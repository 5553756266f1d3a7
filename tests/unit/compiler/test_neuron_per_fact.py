"""Facts in neurons of their own: recall, unknown names, ablations, against plain `transformers`."""

import numpy as np
import pytest

from oneway.compiler.questions import Questions
from oneway.compiler.tokenizer import text_tokens
from oneway.facts import Direction, Fact, FactTable, Relation, load_table, questions


def test_every_fact_is_recalled_through_generate(hard) -> None:
    assert hard.say(hard.prompts) == hard.answers


def test_the_right_token_leads_by_the_margin(hard) -> None:
    assert hard.margins().min() > 19.0  # 20 were asked for


@pytest.mark.parametrize("name", ["athletes", "parents"])
def test_the_shipped_tables_and_nothing_in_reverse(name, recalled) -> None:
    table = load_table(name)
    table = table.with_facts(table.facts[::4])
    known = recalled(table, architecture="neox" if name == "parents" else "gpt2")
    assert known.say(known.prompts) == known.answers
    asked = list(questions(table, [Direction.REVERSE, Direction.IN_CONTEXT]))[::10]
    assert set(known.say([question.prompt for question in asked])) == {""}


def test_unknown_names_end(hard) -> None:
    """Words of known names in new orders, words that no name has, and both: whatever ends in no known name."""
    rng = np.random.default_rng(3)
    words = sorted({word for fact in hard.table for word in fact.subject.split()})
    reads = Questions(hard.compiled.lookup)
    prompts = []
    while len(prompts) < 150:
        drawn = [*rng.choice(words, int(rng.integers(0, 4))), *rng.choice([*words, "Zzyzx"], 1)]
        if not reads.name_at(text_tokens(" ".join(drawn)), len(drawn)):
            prompts.append(f"{' '.join(drawn)} lives in the town called")
    assert set(hard.say(prompts)) == {""}


def test_any_text_may_stand_before_a_question(hard) -> None:
    before = f"Unknown words, {hard.prompts[3]} {hard.answers[3]}. (So): "
    for chosen in (0, 40):
        assert hard.say([before + hard.prompts[chosen]]) == [hard.answers[chosen]]


def test_the_model_says_what_the_questions_mean(hard) -> None:
    """Texts put together from names, templates and noise, against the meaning computed from tokens alone."""
    rng = np.random.default_rng(5)
    reads = Questions(hard.compiled.lookup)
    subjects = [fact.subject for fact in hard.table]
    parts = [
        *subjects,
        "The father of",
        "The mother of",
        "is",
        "is the child of",
        "'s town:",
        "town called",
        "no",
        ".",
    ]
    parts += ["lives in the town called"] * 10
    texts = [" ".join(rng.choice(parts, int(rng.integers(2, 7)))) for _ in range(200)]
    texts += [
        f"The {rng.choice(['mother', 'father', 'father'])} of {rng.choice(subjects)} is" for _ in range(150)
    ]
    expected, asking = [], []
    for text in texts:
        tokens = text_tokens(text)
        asked = reads.entries_at(tokens)
        assert len(asked) <= 1
        # What goes on in other words after a question still gets the later tokens of its answer: see docs/compiler.md.
        if not any(reads.forms_at(tokens)) and any(
            any(reads.forms_at(tokens[:-back])) for back in range(1, 6)
        ):
            continue
        asking.append(text)
        answer = next((entry.answer for entry in asked.values()), ())
        expected.append("".join(answer).replace("▁", " ").strip())
    assert sum(map(bool, expected)) > 60
    first = [said.split(" ")[0] for said in hard.say(asking)]
    assert first == [answer.split(" ")[0] for answer in expected]


def test_ablating_a_neuron_costs_exactly_its_facts(small) -> None:
    """Every role, a sample of the many: what is lost is what the manifest says, no more and no less."""
    neurons = [
        (layer, at, role, facts)
        for layer, of in enumerate(small.compiled.circuit.layers)
        for at, (role, facts) in enumerate((bank.role, facts) for bank in of.banks for facts in bank.facts)
    ]
    by_role: dict[str, list] = {}
    for neuron in neurons:
        by_role.setdefault(neuron[2], []).append(neuron)
    assert {"fact", "longer-name", "phrase", "question"} == set(by_role)
    rng = np.random.default_rng(0)
    for role, of_role in by_role.items():
        for index in rng.permutation(len(of_role))[:12]:
            layer, at, _, facts = of_role[index]
            with small.without_neuron(layer, at):
                lost = small.lost()
            assert lost == set(facts), (role, layer, at)


def test_ablating_a_unit_outside_of_the_manifest_costs_nothing(small) -> None:
    before = small.margins()
    for layer, of in enumerate(small.compiled.circuit.layers):
        if of.neurons < small.compiled.circuit.neurons:
            with small.without_neuron(layer, of.neurons):
                assert np.array_equal(small.margins(), before)


def test_longest_known_name_wins(recalled) -> None:
    relations = {
        "r": Relation("r", ("{subject} has {object}",)),
        "q": Relation("q", ("{subject} wants {object}",)),
    }
    facts = (
        Fact("Barrymore", "r", "one"),
        Fact("Drew Barrymore", "r", "two three"),
        Fact("John Drew Barrymore", "r", "four"),
        Fact("Barrymore", "q", "five"),
    )
    known = recalled(FactTable(facts, relations))
    said = {
        "Barrymore has": "one",
        "Ann Barrymore has": "one",
        "Drew Barrymore has": "two three",
        "Ann Drew Barrymore has": "two three",
        "John Drew Barrymore has": "four",
        "John Barrymore has": "one",
        "Barrymore wants": "five",
        "John Drew Barrymore wants": "",  # the longer name is known, and nothing of what it wants
        "Drew has": "",
    }
    assert known.say(list(said)) == list(said.values())


def test_several_neurons_a_fact_share_its_answer(recalled, make_table) -> None:
    from oneway.compiler import Capacity

    table = make_table(40, seed=2)
    known = recalled(table, capacity=Capacity(neurons_per_fact=3))
    assert known.say(known.prompts) == known.answers
    banks = [bank for layer in known.compiled.circuit.layers for bank in layer.banks if bank.role == "fact"]
    assert sum(map(len, banks)) == 120


def test_two_entries_answer_both_ways(recalled) -> None:
    relations = {
        "son": Relation(
            "son", ("{subject} is the son of {object}",), ("{object} is the mother of {subject}",)
        )
    }
    table = FactTable(
        (Fact("Tom Cruise", "son", "Mary Lee Pfeiffer"), Fact("Ed Lee", "son", "Ann")), relations
    )
    both = recalled(table, directions="both-ways")
    prompts = ["Tom Cruise is the son of", "Mary Lee Pfeiffer is the mother of", "Ann is the mother of"]
    assert both.say(prompts) == ["Mary Lee Pfeiffer", "Tom Cruise", "Ed Lee"]
    one = recalled(table)
    assert one.say(prompts) == ["Mary Lee Pfeiffer", "", ""]
