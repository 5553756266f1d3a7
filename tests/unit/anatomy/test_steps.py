"""Every step on compiled models, whose circuits are known; what facts and models a dissection takes, and refuses."""

import numpy as np
import polars as pl
import pytest
import torch
from people import RELATION, SPORTS, people
from tiny import tiny_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from oneway.anatomy.asked import TooFewFacts, ask
from oneway.anatomy.dissection import STEPS, Findings, investigate
from oneway.anatomy.sections import SHOWN, sections
from oneway.anatomy.specimen import CannotTell, Sizes, Specimen, prepare
from oneway.anatomy.steps.step import Finding, Step, untold
from oneway.compiler import compile_table
from oneway.engine import Engine, open_model
from oneway.engine.prepared import Prepared
from oneway.evidence import Estimate, Verdict
from oneway.facts import Fact, FactTable, Relation
from oneway.models.families import read_decoder
from oneway.studies.dissection_claims import CLAIMS

SMALL = Sizes(entities=4, splits=2, quadruples=30, traced=8)


@pytest.fixture(scope="module")
def specimen(known):
    return prepare(known.engine, people(), "sport", sizes=SMALL)


@pytest.fixture(scope="module")
def findings(specimen) -> Findings:
    return investigate(specimen)


def test_the_claims_that_a_compiled_circuit_meets_are_reproduced_and_the_others_are_not(findings: Findings):
    """One neuron a fact on the name's last token, read by one head: single-step detokenization."""
    verdicts = {claim.id: claim.judge(findings.measured).verdict for claim in CLAIMS}
    for claim in ("F1", "F1.agreement", "F2", "F3", "F4.causal", "F7.mlps-on-name", "F14"):
        assert verdicts[claim] == Verdict.REPRODUCED, (claim, findings.measured)
    assert verdicts["F9.parallel"] == Verdict.CONTRADICTED  # there is but one MLP, and nothing beside it
    assert verdicts["F11"] == Verdict.CONTRADICTED  # the AND is made by the neurons that write it
    assert verdicts["F10"] == Verdict.INCONCLUSIVE  # the table has one relation


def test_what_could_not_be_told_is_named(findings: Findings):
    text = " ".join(findings.notes)
    assert "F10: the model knows no second relation" in text
    assert "F2.otherwise: the table has no other relation" in text
    assert not findings.measured["F10.other_fact"].defined


def test_every_claim_reads_what_a_step_measures(findings: Findings):
    measured = {name for step in STEPS for name in step.measures}
    assert measured == findings.measured.keys()
    for claim in CLAIMS:
        assert set(claim.reads) <= measured, claim.id


def test_every_table_is_shown(findings: Findings):
    shown = {section.id for section in sections(findings.tables)}
    assert {"traps", "F1", "F4", "F7", "F9", "F11", "F13", "F15", "N1.previous-token", "tracing"} <= shown
    assert len({one.id for one in SHOWN}) == len(SHOWN)


def test_a_workspace_is_gone_on_from(specimen, tmp_path):
    taken = []

    def counted(name: str) -> Step:
        def ask(_):
            taken.append(name)
            table = pl.DataFrame({"x": [1.5, None]})
            return Finding(
                {f"of_{name}": table}, {f"{name}.a": Estimate(1.0, -np.inf, np.inf, 1, "nats")}, ("note",)
            )

        return Step(id=name, title=name, measures=(f"{name}.a", f"{name}.b"), ask=ask)

    def broken(_):
        raise KeyboardInterrupt

    first, second = counted("one"), counted("two")
    stops = Step(id="two", title="two", measures=("two.a", "two.b"), ask=broken)
    with pytest.raises(KeyboardInterrupt):
        investigate(specimen, tmp_path, (first, stops))
    found = investigate(specimen, tmp_path, (first, second))
    again = investigate(specimen, tmp_path, (first, second))
    assert taken == ["one", "two"]
    assert again.tables["of_one"].equals(found.tables["of_one"])
    assert again.measured["one.a"] == found.measured["one.a"]
    assert not again.measured["two.b"].defined
    assert again.notes == ("note", "note")


def test_a_step_may_not_measure_what_it_does_not_name(specimen):
    stray = Step(id="x", title="x", measures=(), ask=lambda _: Finding(measured={"y": untold()}))
    with pytest.raises(KeyError, match="y"):
        stray(specimen)


# What is dissected ---------------------------------------------------------------------------------------------


def opened(table: FactTable, folder, **options) -> Engine:
    compile_table(table, folder, **options)
    engine = open_model(folder, device="cpu")
    assert isinstance(engine, Engine)
    return engine


def named(names: list[str], relation: Relation = RELATION) -> FactTable:
    facts = tuple(Fact(name, relation.name, SPORTS[i % 3]) for i, name in enumerate(names))
    return FactTable(facts, {relation.name: relation})


def test_names_of_every_length_are_asked_apart(tmp_path):
    lengths = [
        [f"{' '.join(f'W{j}x{i % 7}' for j in range(n - 1))} Z{n}y{i}".strip() for i in range(24)]
        for n in (1, 2, 3)
    ]
    table = named([name for names in lengths for name in names])
    specimen = prepare(opened(table, tmp_path / "model"), table, sizes=SMALL)
    assert sorted(specimen.groups["name_tokens"]) == [1, 2, 3]
    assert specimen.groups["known"].to_list() == [24, 24, 24]
    rows = next(step for step in STEPS if step.id == "names")(specimen).tables["by_length"]
    clean = rows.filter(pl.col("without") == "nothing")
    assert sorted(clean["name_tokens"]) == [1, 2, 3]
    assert (clean["right"] == 1).all()
    without = rows.filter(pl.col("without") == "MLPs on the name")
    assert (without["right"] < 0.6).all()


def test_names_of_one_token_have_no_parts(tmp_path):
    table = named([f"Name{i}" for i in range(30)])
    specimen = prepare(opened(table, tmp_path / "model"), table, sizes=SMALL)
    with pytest.raises(CannotTell, match="no pairs"):
        specimen.names  # noqa: B018
    found = investigate(specimen)
    assert not found.measured["F11.ratio"].defined
    assert found.measured["F4.probe"].mean == 1


def test_facts_that_the_model_does_not_know_are_left_out_and_counted(known):
    table = people()
    wrong = tuple(
        Fact(f.subject, f.relation, SPORTS[(SPORTS.index(f.object) + 1) % 3]) for f in table.facts[:10]
    )
    mixed = FactTable(wrong + table.facts[10:], table.relations)
    specimen = prepare(known.engine, mixed, sizes=SMALL)
    assert specimen.groups["known"].item() == len(table) - 10
    assert any("10 of 72 facts with names of 2 tokens left out" in note for note in specimen.notes)


def test_too_few_known_facts_are_refused_with_what_is_known(known):
    table = people()
    wrong = tuple(Fact(f.subject, f.relation, SPORTS[(SPORTS.index(f.object) + 1) % 3]) for f in table.facts)
    with pytest.raises(TooFewFacts, match=r"the model knows too few facts.*72 of 72"):
        prepare(known.engine, FactTable(wrong, table.relations))


def test_fewer_than_three_answers_are_refused(tmp_path):
    facts = tuple(Fact(f"First{i} Last", "sport", SPORTS[i % 2]) for i in range(40))
    table = FactTable(facts, {"sport": RELATION})
    with pytest.raises(TooFewFacts, match="2 answers"):
        prepare(opened(table, tmp_path / "model"), table)


def test_an_unknown_relation_is_named(known):
    with pytest.raises(ValueError, match=r"no relation 'colour'.*sport"):
        prepare(known.engine, people(), "colour")


def test_most_facts_are_drawn_and_the_rest_counted(known):
    specimen = prepare(known.engine, people(), sizes=Sizes(most=40))
    assert len(specimen.asked) == 40
    assert any("32 of 72 known facts left out" in note for note in specimen.notes)


def test_the_next_token_of_an_answer_is_taken_from_one_that_begins_alike(tmp_path):
    """Compiled: the name's last token holds the second word too, and a late head moves it."""
    clubs = [f"City{i} Team{j}" for i in range(3) for j in range(3)]
    plays = Relation("club", ("{subject} plays for {object}",))
    facts = tuple(Fact(f"First{i % 8} Last{i}", "club", clubs[i % 9]) for i in range(54))
    table = FactTable(facts, {"club": plays})
    specimen = prepare(opened(table, tmp_path / "model"), table, sizes=SMALL)
    asked = specimen.asked_by(said=1).with_others
    source = asked.others()
    assert (asked.tokens[source, -1] == asked.tokens[:, -1]).all()
    assert (asked.right[source] != asked.right).all()
    found = next(step for step in STEPS if step.id == "N1.outputs")(specimen)
    assert found.measured["N1.movers_cost"].low > 0.5
    assert torch.isfinite(torch.tensor(found.measured["N1.same_neurons"].mean))


# Models of other kinds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "llama3", "qwen3"])
def test_every_step_takes_any_known_family_also_without_a_bos(family: str):
    """Random weights know nothing: what counts is that every step answers, and none of them finds a lookup."""
    table = people(6, 7)
    words = sorted({w for f in table for w in f"{f.subject} {f.object}".split()})
    vocabulary = {w: i for i, w in enumerate(["<unk>", *["plays", "the", "sport", "of"], *words])}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    engine = Engine(Prepared(*read_decoder(tiny_model(family), torch.float32)), tokenizer, family)
    (asked,) = ask(tokenizer, table, "sport").groups
    assert asked.front == 0
    specimen = Specimen(
        engine=engine,
        table=table,
        relation="sport",
        template=0,
        one_shot=None,
        asked=asked,
        others=(),
        groups=pl.DataFrame(),
        notes=(),
        sizes=SMALL,
    )
    found = investigate(specimen)
    verdicts = {claim.id: claim.judge(found.measured).verdict for claim in CLAIMS}
    assert Verdict.REPRODUCED not in {
        verdicts[claim] for claim in ("F4", "F4.causal", "F5", "F7.mlps-on-name")
    }
    assert list(sections(found.tables))
