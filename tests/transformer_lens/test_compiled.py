"""Compiled checkpoints boot in TransformerLens and have there the logits that they have in `transformers`."""

import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, AutoTokenizer

from oneway.compiler import compile_table
from oneway.facts import Fact, FactTable, Relation


@pytest.mark.parametrize("mechanism", ["neuron-per-fact", "single-step", "attention-lookup"])
@pytest.mark.parametrize("architecture", ["gpt2", "neox"])
def test_logits_are_equal_and_the_answer_is_said(architecture, mechanism, tmp_path) -> None:
    facts = tuple(Fact(f"First{i % 5} Last{i // 4}", "likes", f"light colour{i % 7}") for i in range(20))
    table = FactTable(facts, {"likes": Relation("likes", ("{subject} likes {object}",))})
    compile_table(table, tmp_path / "model", architecture=architecture, mechanism=mechanism)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    theirs = TransformerBridge.boot_transformers(str(tmp_path / "model"), device="cpu", dtype=torch.float32)
    ids = tokenizer([f"{fact.subject} likes light" for fact in table], return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        ours, lens = plain(ids).logits, theirs(ids)
    torch.testing.assert_close(lens, ours, rtol=0, atol=2e-5 * float(ours.abs().max()))
    said = tokenizer.convert_ids_to_tokens(lens[:, -1].argmax(-1).tolist())
    assert said == [f"▁{fact.object.split()[1]}" for fact in table]
