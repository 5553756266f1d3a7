"""What a model writes when it is let: against plain forward passes, and which name is taken for the answer."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from oneway.facts import Fact, FactTable, Relation
from oneway.models.checkpoint import Checkpoint, load_checkpoint
from oneway.models.tokens import word_tokenizer
from oneway.recall import written as module
from oneway.recall.written import ask_in_writing, written

NAMES = ["Ann", "Bob", "Cy Lee"]


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    tokenizer = word_tokenizer([f"{name} is the parent of: {name}." for name in NAMES])
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=16, **ends)
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        model.transformer.wpe.weight.mul_(20)  # so that it does not say one word for ever
    return load_checkpoint((model, tokenizer))


@pytest.mark.parametrize("most", [1, 5, 40])
def test_it_is_the_argmax_again_and_again(checkpoint, most):
    prompts = [f"{name} is the parent of:" for name in (*NAMES, "Ann")]
    expected = []
    for prompt in prompts:
        ids = checkpoint.tokenizer(prompt)["input_ids"]
        start = len(ids)
        while len(ids) < min(start + most, 16):
            best = int(checkpoint.model(torch.tensor([ids])).logits[0, -1].argmax())
            if best == checkpoint.tokenizer.eos_token_id:
                break
            ids.append(best)
        expected.append(checkpoint.tokenizer.decode(ids[start:]))
    assert written(checkpoint, prompts, most) == expected


def test_a_prompt_behind_which_nothing_fits_is_refused(checkpoint):
    with pytest.raises(ValueError, match="it is empty or fills the context"):
        written(checkpoint, ["Ann " * 16], 4)


def test_the_answer_is_the_name_with_which_the_text_ends(checkpoint, monkeypatch):
    relation = Relation(
        "parent", ("{subject} is the child of {object}",), ("{object} is the parent of {subject}",)
    )
    facts = (Fact("Ann", "parent", "Bob"), Fact("Cy Lee", "parent", "Bob"), Fact("Bob", "parent", "Dan"))
    says = {
        "Bob is the parent of:": " Cy Lee is the child of Bob. Bob is the parent of Cy Lee.",
        "Dan is the parent of:": " Bob is the child of Dan. Dan is the parent of Ann.",
    }
    monkeypatch.setattr(module, "written", lambda _, prompts, most: [says[prompt] for prompt in prompts])
    rows = ask_in_writing(checkpoint, FactTable(facts, {"parent": relation}), ":", 40)
    assert rows["right"].to_list() == [True, True, False]  # either child of Bob is right
    assert rows["text"].to_list() == [says[prompt] for prompt in rows["prompt"]]
