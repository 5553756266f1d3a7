"""Every remedy that is training text goes through `augment` and through `repair`; every other is refused by both."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from oneway.cli import main
from oneway.models.tokens import bpe_tokenizer
from oneway.remedies import INSTEAD, REMEDIES

TABLE = """subject,relation,object,split
Tom Lee,parent,Ann Lee,treated
Sue Moor,parent,Bob Moor,treated
Ida Hill,parent,Eve Wood,treated
Max Reed,parent,Kim Reed,asked
"""
RELATIONS = """[parent]
forward = ["{subject} is the child of {object}"]
reverse = ["{object} is the parent of {subject}"]
bridge = ["The parent of {subject} is the parent of {subject}"]
"""
FACTS = ["--facts", "facts.csv", "--relations", "facts.toml", "--split", "treated"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of four facts and a model that knows nothing yet."""
    where = tmp_path_factory.mktemp("remedies")
    (where / "facts.csv").write_text(TABLE, encoding="utf-8")
    (where / "facts.toml").write_text(RELATIONS, encoding="utf-8")
    (where / "other.txt").write_text("The rain stopped before noon.\nShe put the letters away.\n", "utf-8")
    torch.manual_seed(0)
    tokenizer = bpe_tokenizer([TABLE, RELATIONS], 300)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    shape = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 128}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **shape, **ends)).save_pretrained(where / "model")
    tokenizer.save_pretrained(where / "model")
    return where


@pytest.fixture
def oneway(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """The command, in this process; its exit status."""
    monkeypatch.chdir(folder)

    def call(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["oneway", *words])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0

    return call


def lines(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("remedy", sorted(REMEDIES))
def test_training_text_is_written_and_taught(oneway, folder, capsys, remedy):
    asked = ["--remedy", remedy, "--json"]
    file = f"{remedy}.jsonl"
    assert oneway("augment", *FACTS, *asked, "--format", "prompt-completion", "--out", file) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["remedy"]["name"] == remedy
    assert written["lines"]["forward"] == 4
    assert written["lines"]["added"] >= 3
    text = lines(folder / file)
    assert len(text) == written["lines"]["forward"] + written["lines"]["added"]
    assert not any("Max" in line["prompt"] + line["completion"] for line in text[4:])  # of the other split

    taught = ["--text", "other.txt", "--epochs", "1", "--batch", "4", "--device", "cpu", "--out", remedy]
    assert oneway("repair", "--model", "model", *FACTS, *asked, *taught) == 0
    record = json.loads(capsys.readouterr().out)
    assert lines(folder / remedy / "training.jsonl") == text
    assert record["config"]["augmented"]["lines"] == written["lines"]
    own = {"repair.written"} if REMEDIES[remedy].cue else set()
    claims = {"repair.reverse", "repair.forward", "repair.other-text"} | own
    assert {claim["id"] for claim in record["claims"]} == claims
    before, after = (
        load_file(folder / name / "model.safetensors") for name in ("model", f"{remedy}/checkpoint")
    )
    assert any(not torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("command", ["augment", "repair"])
@pytest.mark.parametrize("remedy", sorted(INSTEAD))
def test_a_remedy_that_is_no_text_is_refused_with_what_to_use(oneway, folder, capsys, remedy, command):
    model = ["--model", "model"] if command == "repair" else []
    assert oneway(command, *model, *FACTS, "--remedy", remedy, "--out", "refused") == 2
    assert INSTEAD[remedy] in " ".join(capsys.readouterr().err.split())
    assert "use " in INSTEAD[remedy]
    assert not (folder / "refused").exists()
