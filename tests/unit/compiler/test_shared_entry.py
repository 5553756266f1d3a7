"""One stored association for both directions: tied GPT-2, single tokens."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from oneway.cli import app
from oneway.compiler import Capacity, CompileError, compile_table, grade, read_manifest
from oneway.facts import Fact, FactTable, Relation

SON = Relation("son", ("{subject} is the son of {object}",), ("{object} is the mother of {subject}",))
CAPITAL = Relation("capital", ("The capital of {subject} is {object}",), ("{object} rules {subject}",))


@pytest.fixture(scope="module")
def table() -> FactTable:
    facts = [Fact(f"Son{i}", "son", f"Mother{i}") for i in range(70)]
    facts += [Fact(f"Land{i}", "capital", f"Town{i}") for i in range(30)]
    facts.append(Fact("Mother3", "son", "Mother4x"))  # a chain: an object that is a subject too
    return FactTable(tuple(facts), {"son": SON, "capital": CAPITAL})


@pytest.fixture(scope="module")
def shared(recalled, table):
    return recalled(table, directions="shared-entry")


def asked(table: FactTable) -> tuple[list[str], list[str]]:
    words = {
        "son": ("{} is the son of", "{} is the mother of"),
        "capital": ("The capital of {} is", "{} rules"),
    }
    forward = [(words[fact.relation][0].format(fact.subject), fact.object) for fact in table]
    reverse = [(words[fact.relation][1].format(fact.object), fact.subject) for fact in table]
    prompts, answers = zip(*forward, *reverse, strict=True)
    return list(prompts), list(answers)


def test_both_questions_are_answered_and_then_it_ends(shared, table) -> None:
    prompts, answers = asked(table)
    assert shared.say(prompts) == answers
    assert shared.say(["Nobody is the son of", "Land3 is the son of", "Town2 is the mother of"]) == [
        "",
        "",
        "",
    ]


def test_embeddings_are_tied(shared) -> None:
    assert shared.model.config.tie_word_embeddings
    assert shared.model.lm_head.weight is shared.model.transformer.wte.weight


def test_without_the_pairs_code_neither_direction_is_left(shared, table) -> None:
    """The code is taken out of one token, the subject's: both questions are lost, and no other one."""
    place = shared.compiled.circuit.residual["son: left"].slice
    token = shared.tokenizer.convert_tokens_to_ids("▁Son5")
    weight = shared.model.transformer.wte.weight
    kept = weight[token, place].clone()
    prompts, answers = asked(table)
    with torch.no_grad():
        weight[token, place] = 0
        said = shared.say(prompts)
        weight[token, place] = kept
    lost = [prompt for prompt, answer, text in zip(prompts, answers, said, strict=True) if text != answer]
    assert lost == ["Son5 is the son of", "Mother5 is the mother of"]


def test_other_shapes_are_refused(table, tmp_path) -> None:
    with pytest.raises(CompileError, match="needs tied embeddings"):
        compile_table(table, tmp_path / "a", architecture="neox", directions="shared-entry")
    long = table.with_facts([Fact("Tom Cruise", "son", "Mary")])
    with pytest.raises(CompileError, match="joins single tokens"):
        compile_table(long, tmp_path / "b", directions="shared-entry")
    with pytest.raises(CompileError, match="has no neuron that knows a fact"):
        compile_table(table, tmp_path / "c", directions="shared-entry", capacity=Capacity(decoys=1))
    with pytest.raises(CompileError, match="1 neurons in a block are too few"):
        compile_table(table, tmp_path / "c", directions="shared-entry", capacity=Capacity(neurons=1))


def test_the_heads_that_read_are_graded(shared) -> None:
    manifest = read_manifest(shared.compiled.directory)
    rows = [{"layer": h["layer"], "head": h["head"], "score": 1.0} for h in manifest.heads]
    assert grade({"heads": rows}, shared.compiled.directory).heads.auc == 1
    assert np.linalg.norm(manifest.direction("son: left | ▁Son5")) == pytest.approx(1)


def test_the_command_takes_one_of_the_two(tmp_path) -> None:
    given = ["compile", "--facts", "parents", "--out", str(tmp_path / "out"), "--both-ways", "--shared-entry"]
    result = CliRunner().invoke(app, given)
    assert result.exit_code != 0
    assert "give one of them" in str(result.exception or result.output)
