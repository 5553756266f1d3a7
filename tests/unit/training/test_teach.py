"""A table becomes a checkpoint that plain transformers loads, with the record of how."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from oneway.api import grow, train
from oneway.facts import athletes, by_direction, families, read_facts
from oneway.training.lessons import Lessons
from oneway.training.optimisers import Optimisation
from oneway.training.sequences import Sequences
from oneway.training.teach import Size, Teaching

TABLE = by_direction(families(12, seed=3), {"forward_only": 8, "both_ways": 4}, seed=1)
SMALL = {"layers": 2, "width": 32, "heads": 2, "episodes": 0.0, "learning_rate": 0.01}


def recited(directory: Path) -> float:
    """Share of the facts whose whole object plain greedy decoding gives."""
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(directory),
        AutoTokenizer.from_pretrained(directory),
    )
    right = 0
    for fact in TABLE:
        prompt, answer = (
            TABLE.relations[fact.relation].forward[0].replace("{subject}", fact.subject).split("{object}")
        )
        assert answer == ""
        given = tokenizer(prompt.rstrip(), return_tensors="pt")
        said = model.generate(**given, max_new_tokens=20, do_sample=False, pad_token_id=0)[
            0, given.input_ids.shape[1] :
        ]
        right += " ".join(tokenizer.decode(said).split()).startswith(fact.object)
    return right / len(TABLE)


@pytest.mark.parametrize(("style", "tokens"), [("neox", "word"), ("gpt2", "word"), ("neox", "bpe")])
def test_a_small_model_learns_a_small_table(style, tokens, tmp_path: Path):
    taught = train(TABLE, tmp_path / "m", style=style, tokens=tokens, bpe_vocabulary=400, steps=250, **SMALL)
    assert recited(taught.checkpoint) == 1.0
    losses = taught.curves["value"]
    assert losses[-1] < 0.2 * losses[0]


def test_the_record_states_the_loss_mask_and_the_directions(tmp_path: Path):
    table = replace(TABLE, notes=("a column was not read (f.csv)",))
    train(table, tmp_path / "m", steps=2, loss="document", **SMALL)
    record = json.loads((tmp_path / "m" / "record.json").read_text(encoding="utf-8"))
    assert record["config"]["lessons"]["loss"] == "document"
    assert record["notes"] == ["a column was not read (f.csv)"]
    assert record["config"]["directions"] == {"forward_only": 8, "both_ways": 4}
    assert record["checkpoints"]["model.safetensors"]


def test_the_seed_decides_the_weights_and_nothing_else_does(tmp_path: Path):
    def weights(name: str, seed: int) -> torch.Tensor:
        train(TABLE, tmp_path / name, steps=3, seed=seed, **SMALL)
        return AutoModelForCausalLM.from_pretrained(tmp_path / name).get_input_embeddings().weight

    first, again, other = weights("a", 1), weights("b", 1), weights("c", 2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_unknown_options_are_refused_by_name(tmp_path: Path):
    with pytest.raises(ValueError, match="depth"):
        train(TABLE, tmp_path / "m", depth=3)
    with pytest.raises(ValueError, match="answer, document"):
        train(TABLE, tmp_path / "m", loss="none")


def test_every_option_has_one_place():
    for lessons in (Lessons, Sequences):
        names = [field.name for part in (Teaching, Size, lessons, Optimisation) for field in fields(part)]
        assert len(names) == len(set(names))


def test_the_default_model_lies_beside_its_facts(tmp_path: Path):
    taught = grow(tmp_path / "m", seed=3, steps=2, layers=1, width=8, heads=2, rows=4)
    assert taught.teaching.lessons.rows == 4
    facts = read_facts(tmp_path / "m" / "facts.jsonl", tmp_path / "m" / "relations.toml")
    assert [(f.subject, f.relation, f.object) for f in facts] == [
        (f.subject, f.relation, f.object) for f in athletes(seed=3)
    ]
    again = grow(tmp_path / "m", seed=3, steps=2, layers=1, width=8, heads=2, rows=4)
    assert (again.record.created, again.record.checkpoints) == (
        taught.record.created,
        taught.record.checkpoints,
    )
    with pytest.raises(ValueError, match="athletes"):
        grow(tmp_path / "other", "boxers")
