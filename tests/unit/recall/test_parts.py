"""An audit that is stopped goes on to the very same numbers; a workspace that is not its own is named."""

import shutil

import pytest
import torch
from polars.testing import assert_frame_equal
from transformers import GPT2Config, GPT2LMHeadModel

from oneway.evidence.atomic import WriteError
from oneway.evidence.record import RESUMED
from oneway.facts import Fact, FactTable, Relation
from oneway.models.tokens import word_tokenizer
from oneway.recall import audit as module
from oneway.recall import parts
from oneway.recall.asking import AuditConfig
from oneway.recall.audit import audit

LIKES = Relation(
    "likes", ("{subject} likes {object}",), ("{object} is liked by {subject}", "{subject} likes {object}")
)
NAMES = [f"{first} {last}" for first in ("Ann", "Bob", "Cid", "Dan") for last in ("Lee", "Roe", "Poe", "Moe")]
FACTS = FactTable(
    tuple(Fact(a, "likes", b) for a, b in zip(NAMES * 3, NAMES[::-1] * 3, strict=True)), {"likes": LIKES}
)
CONFIG = AuditConfig(candidates=6)


@pytest.fixture(scope="module")
def pair():
    """Without a BOS, so that the second reverse template gives an empty prompt, which is skipped."""
    from tokenizers import processors

    tokenizer = word_tokenizer([f"{fact.subject} likes {fact.object} is liked by." for fact in FACTS])
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    torch.manual_seed(0)
    size = {"n_positions": 32, "n_embd": 16, "n_layer": 1, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **size)).eval(), tokenizer


@pytest.fixture(autouse=True)
def _small_parts_saved_at_once(monkeypatch):
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 1)
    monkeypatch.setattr(parts, "SAVE_SECONDS", 0.0)


class Stop(BaseException):
    pass


def stopped(pair, workspace, monkeypatch, after: int, config=CONFIG) -> int:
    """Audit until so many parts were asked; returns how many were."""
    count, ask = 0, module._Asking.ask

    def counted(asking, part):
        nonlocal count
        if count == after:
            raise Stop
        count += 1
        return ask(asking, part)

    monkeypatch.setattr(module._Asking, "ask", counted)
    with pytest.raises(Stop):
        audit(pair, FACTS, config, workspace=workspace)
    monkeypatch.setattr(module._Asking, "ask", ask)
    return count


def same(found, whole) -> None:
    assert_frame_equal(found.rows, whole.rows, check_exact=True)
    assert_frame_equal(found.skipped, whole.skipped, check_exact=True)
    assert found.summary == whole.summary
    assert [note for note in found.record.notes if note != RESUMED] == list(whole.record.notes)


def test_an_audit_that_was_stopped_twice_ends_with_the_same_numbers(pair, tmp_path, monkeypatch):
    whole = audit(pair, FACTS, CONFIG)
    assert whole.skipped.height == 48
    assert RESUMED not in whole.record.notes
    assert stopped(pair, tmp_path / "w", monkeypatch, after=3) == 3
    assert stopped(pair, tmp_path / "w", monkeypatch, after=2) == 2
    asked = []
    ask = module._Asking.ask
    monkeypatch.setattr(module._Asking, "ask", lambda a, part: asked.append(part) or ask(a, part))
    found = audit(pair, FACTS, CONFIG, workspace=tmp_path / "w")
    same(found, whole)
    assert found.record.notes[0] == RESUMED
    resumed = len(asked)
    audit(pair, FACTS, CONFIG)
    assert len(asked) - resumed == resumed + 5, "the five parts on disk were not asked again"


def test_parts_that_a_disk_lost_are_asked_again(pair, tmp_path, monkeypatch):
    whole = audit(pair, FACTS, CONFIG)
    stopped(pair, tmp_path / "w", monkeypatch, after=6)
    files = sorted((tmp_path / "w").glob("*.parquet"))
    assert len(files) == 6
    for lost in files[1:5:2]:
        lost.unlink()
    same(audit(pair, FACTS, CONFIG, workspace=tmp_path / "w"), whole)


def test_one_flipped_bit_is_named(pair, tmp_path, monkeypatch):
    stopped(pair, tmp_path / "w", monkeypatch, after=2)
    file = sorted((tmp_path / "w").glob("*.parquet"))[1]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{file.name} is damaged.*delete it"):
        audit(pair, FACTS, CONFIG, workspace=tmp_path / "w")
    file.unlink()
    same(audit(pair, FACTS, CONFIG, workspace=tmp_path / "w"), audit(pair, FACTS, CONFIG))


def test_the_workspace_of_another_audit_is_named(pair, tmp_path, monkeypatch):
    stopped(pair, tmp_path / "w", monkeypatch, after=2)
    others = {
        "facts": (pair, FACTS.with_facts(FACTS.facts[1:]), CONFIG),
        "relations": (pair, FactTable(FACTS.facts, {"likes": Relation("likes", LIKES.reverse[1:])}), CONFIG),
        "config": (pair, FACTS, AuditConfig(candidates=7)),
    }
    torch.manual_seed(1)
    weights = GPT2LMHeadModel(pair[0].config).eval()
    others["weights"] = ((weights, pair[1]), FACTS, CONFIG)
    for model, facts, config in others.values():
        with pytest.raises(ValueError, match="parts of another audit"):
            audit(model, facts, config, workspace=tmp_path / "w")
    (tmp_path / "w" / parts.IDENTITY).unlink()
    with pytest.raises(ValueError, match="does not say which audit"):
        audit(pair, FACTS, CONFIG, workspace=tmp_path / "w")


def test_a_workspace_that_vanishes_is_named_and_not_made_anew(pair, tmp_path, monkeypatch):
    ask = module._Asking.ask
    asked = []

    def vanishing(asking, part):
        asked.append(part)
        if len(asked) == 3:
            shutil.rmtree(tmp_path / "w")
        return ask(asking, part)

    monkeypatch.setattr(module._Asking, "ask", vanishing)
    with pytest.raises(WriteError, match="vanished"):
        audit(pair, FACTS, CONFIG, workspace=tmp_path / "w")
    assert not (tmp_path / "w").exists()
