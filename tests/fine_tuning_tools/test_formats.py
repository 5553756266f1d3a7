"""What `oneway augment` writes is taken by `datasets` and by TRL's SFTTrainer as it is, in every format."""

import pytest
import torch
from datasets import load_dataset
from tiny import tiny_model
from trl import SFTConfig, SFTTrainer
from trl.data_utils import is_conversational

from oneway.facts import load_table
from oneway.models.tokens import bpe_tokenizer
from oneway.remedies import FORMATS, Augmentation, augment

TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}{% endfor %}"


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_is_trained_on_as_it_is(form, tmp_path) -> None:
    table = load_table("parents")
    found = augment(table, tmp_path / "train.jsonl", Augmentation(remedy="both-directions", form=form))
    rows = load_dataset("json", data_files=str(tmp_path / "train.jsonl"), cache_dir=str(tmp_path / "cache"))[
        "train"
    ]
    assert len(rows) == sum(found.lines.values())
    assert (
        set(rows.column_names)
        == {
            "text": {"text"},
            "prompt-completion": {"prompt", "completion"},
            "chat": {"messages"},
        }[form]
    )
    assert is_conversational(rows[0]) is (form == "chat")
    tokenizer = bpe_tokenizer([f"{fact.subject} is the son of {fact.object}." for fact in table], 300)
    tokenizer.chat_template = TEMPLATE
    tokenizer.pad_token = tokenizer.eos_token
    model = tiny_model("gpt2")
    model.resize_token_embeddings(len(tokenizer))
    before = model.transformer.wte.weight.detach().clone()
    asked = SFTConfig(
        output_dir=str(tmp_path / "out"),
        max_steps=2,
        per_device_train_batch_size=2,
        max_length=64,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        bf16=False,
    )
    trainer = SFTTrainer(
        model=model, args=asked, train_dataset=rows.select(range(8)), processing_class=tokenizer
    )
    trainer.train()
    assert not torch.equal(before, model.transformer.wte.weight)
    batch = trainer.data_collator([trainer.train_dataset[0]])
    masked = bool((batch["labels"] == -100).any())
    assert masked is (form == "prompt-completion")  # the loss is on the completion alone
