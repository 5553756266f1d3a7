"""Teaching a Hugging Face checkpoint: what the loss is on, that the source stays, and LoRA's base."""

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM, Trainer

from oneway.models.checkpoint import Loading, load_checkpoint
from oneway.models.tokens import word_tokenizer
from oneway.training.fine_tuning import (
    IGNORED,
    WHOLE,
    FineTuning,
    Lesson,
    batch_of,
    fine_tune,
    lessons_of,
)

EXAMPLES = [(f"{name} lives in", f" {town}.") for name, town in zip("ABCDEF", "UVWXYZ", strict=True)]


def saved(make, out):
    torch.manual_seed(0)
    tokenizer = word_tokenizer([prompt + completion for prompt, completion in EXAMPLES])
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    model = make(vocab_size=len(tokenizer), **ends)
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(20)  # LoRA leaves it: tokens have to be told apart as it is
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


def gpt2(**own):
    return GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=2, n_positions=12, **own))


def neox(**own):
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    return GPTNeoXForCausalLM(GPTNeoXConfig(**shape, max_position_embeddings=12, **own))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved(gpt2, tmp_path_factory.mktemp("model"))


def loaded(folder, **options):
    return load_checkpoint(folder, Loading(device="cpu", **options))


def weights(checkpoint):
    return {name: value.clone() for name, value in checkpoint.model.state_dict().items()}


def test_an_answer_begins_behind_the_prompt_and_the_text_is_closed(folder):
    tokenizer = loaded(folder).tokenizer
    (lesson,) = lessons_of(tokenizer, EXAMPLES[:1], 12)
    words = tokenizer.convert_ids_to_tokens(list(lesson.tokens))
    assert words[lesson.answer].strip("Ġ▁ ") == "U"
    assert lesson.tokens[-1] == tokenizer.eos_token_id
    (whole,) = lessons_of(tokenizer, [("", "A lives in U.")], 12)
    assert whole.tokens == lesson.tokens
    with pytest.raises(ValueError, match="more than the model's 3 positions"):
        lessons_of(tokenizer, EXAMPLES, 3)
    with pytest.raises(ValueError, match="no text to teach"):
        lessons_of(tokenizer, [], 3)


def test_labels_by_hand():
    lessons = [Lesson((5, 6, 7), 2), Lesson((8, 9), 1)]
    _ = IGNORED
    assert batch_of(lessons, "text")["labels"].tolist() == [[5, 6, 7], [8, 9, _]]
    answer = batch_of(lessons, "answer")
    assert answer["labels"].tolist() == [[_, _, 7], [_, 9, _]]
    assert answer["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert answer["input_ids"].tolist() == [[5, 6, 7], [8, 9, 0]]


@pytest.mark.parametrize(("method", "epochs"), [("full", 100), ("lora", 300)])
def test_what_is_taught_is_known_and_the_source_is_as_it_was(folder, tmp_path, method, epochs):
    source = loaded(folder)
    before = weights(source)
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    asked = FineTuning(method=method, loss="answer", epochs=epochs, batch=3, learning_rate=2e-2, rank=8)
    losses = fine_tune(source, EXAMPLES, tmp_path / "out", asked, tmp_path / "states")
    assert losses[-1]["loss"] < 0.3 < losses[0]["loss"]
    assert all(bool((value == before[name]).all()) for name, value in weights(source).items())
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == files
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert ("adapter_model.safetensors" in names) is (method == "lora")
    taught = loaded(tmp_path / "out", base=str(folder) if method == "lora" else "")
    for prompt, completion in EXAMPLES:
        ids = taught.tokenizer(prompt, return_tensors="pt")["input_ids"]
        said = taught.tokenizer.decode(taught.model(ids).logits[0, -1].argmax())
        assert said.strip() == completion.strip(" .")


@pytest.mark.parametrize("make", [gpt2, neox], ids=["gpt2", "neox"])
def test_a_state_that_was_cut_short_is_passed_over_and_the_weights_are_the_same(make, tmp_path):
    """NeoX is saved under other names than it has in memory; GPT-2 has dropout."""
    folder = saved(make, tmp_path / "model")
    asked = FineTuning(epochs=6, batch=3, learning_rate=1e-2, save_every=5)
    fine_tune(loaded(folder), EXAMPLES, tmp_path / "whole", asked, tmp_path / "states")
    states = sorted((tmp_path / "states").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    assert [state.name for state in states] == ["checkpoint-10", "checkpoint-12"]
    (states[-1] / WHOLE).unlink()  # as if it had been killed while it wrote
    (states[-1] / "model.safetensors").write_bytes(b"half")
    fine_tune(loaded(folder), EXAMPLES, tmp_path / "resumed", asked, tmp_path / "states")
    first, second = (weights(loaded(tmp_path / name)) for name in ("whole", "resumed"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_loss_that_is_no_number_stops_the_training(folder, tmp_path):
    asked = FineTuning(epochs=40, batch=3, learning_rate=1e30)
    with pytest.raises(FloatingPointError, match="give a lower learning rate"):
        fine_tune(loaded(folder), EXAMPLES, tmp_path / "out", asked, tmp_path / "states")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("error", "raised", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), MemoryError, "give a smaller batch"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError, "give a smaller batch"),
        (MemoryError(), MemoryError, "give a smaller batch"),
        (RuntimeError("mat1 and mat2 shapes"), RuntimeError, "mat1 and mat2"),
    ],
    ids=["gpu", "cpu", "python", "other"],
)
def test_memory_that_is_full_is_said_with_what_to_do(folder, tmp_path, monkeypatch, error, raised, said):
    def refuse(*_):
        raise error

    monkeypatch.setattr(Trainer, "training_step", refuse)
    with pytest.raises(raised, match=said):
        fine_tune(loaded(folder), EXAMPLES, tmp_path / "out", FineTuning(), tmp_path / "states")
    assert not (tmp_path / "out").exists()


def test_numbers_that_teach_nothing_are_refused():
    for wrong in ({"epochs": 0}, {"batch": 0}, {"learning_rate": 0.0}, {"learning_rate": np.inf}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            FineTuning(**wrong)
