"""The audit as a whole: nothing is dropped silently, the same seed gives the same rows, the record is strict JSON."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from tokenizers import processors
from transformers import GPT2Config, GPT2LMHeadModel

from oneway.facts import Direction, Fact, FactTable, Relation, questions, read_facts
from oneway.models.tokens import bpe_tokenizer, word_tokenizer
from oneway.recall import audit as module
from oneway.recall.asking import AuditConfig
from oneway.recall.audit import audit
from oneway.recall.spans import SPECIAL

MOTHER = Relation(
    "mother",
    ("The mother of {subject} is {object}", "{subject} calls {object} mother"),
    ("{object} is the mother of {subject}", "{subject} is the child of {object}"),
)
NAMES = [f"{first} {last}" for first in ["Ann", "Bob", "Cid", "Dan", "Eve"] for last in ["Lee", "Roe", "Poe"]]
TABLE = FactTable(
    tuple(
        Fact(a, "mother", b, source=f"f.csv:{i}")
        for i, (a, b) in enumerate(zip(NAMES, NAMES[::-1], strict=True))
    ),
    {"mother": MOTHER},
)
TEXTS = [f"The mother of {f.subject} is {f.object}. {f.object} calls is the mother of child" for f in TABLE]


def tiny(vocab: int, positions: int = 64) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=vocab,
        n_positions=positions,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        model.transformer.wte.weight.mul_(30)
    return model


@pytest.fixture(scope="module")
def pair():
    tokenizer = bpe_tokenizer(TEXTS, 290)
    return tiny(len(tokenizer)), tokenizer


def test_every_question_has_a_row_with_the_columns_of_the_contract(pair):
    result = audit(pair, TABLE)
    assert result.rows.height + result.skipped.height == 15 * 6
    assert result.skipped.is_empty()
    contract = (
        "subject relation object direction template prompt answer logprob answer_tokens rank candidates"
    )
    assert set(f"{contract} exact_match class".split()) <= set(result.rows.columns)
    assert result.to_frame() is result.rows
    asked = result.rows.group_by("fact", "direction", "template_index").len()
    assert (asked.height, asked["len"].max()) == (90, 1)
    assert result.rows["fact"].is_sorted()
    row = result.rows.row(0, named=True)
    assert (row["prompt"], row["answer"]) == ("The mother of Ann Lee is", " Eve Poe")
    assert (row["candidates"], row["source"]) == (15, "f.csv:0")


def test_the_same_seed_gives_the_same_rows_whatever_the_parts(pair, monkeypatch):
    config = AuditConfig(candidates=5, seed=3)
    first = audit(pair, TABLE, config).rows
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 1)
    second = audit(pair, TABLE, config).rows
    numbers = ["logprob", "logprob_per_token", "random_logprob", "margin"]
    assert_frame_equal(first, second, abs_tol=1e-5)
    assert_frame_equal(first.drop(numbers), second.drop(numbers))
    other = audit(pair, TABLE, replace(config, seed=4)).rows
    assert not first["random_logprob"].equals(other["random_logprob"])
    assert first["exact_match"].equals(other["exact_match"]), "candidates do not change what is recalled"


def test_what_cannot_be_scored_is_listed_with_its_reason():
    """Without a BOS, the second reverse template gives an empty prompt."""
    tokenizer = bpe_tokenizer(TEXTS, 290)
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    result = audit((tiny(len(tokenizer)), tokenizer), TABLE)
    assert result.skipped.height == 15
    assert set(result.skipped["direction"]) == {"reverse"}
    assert set(result.skipped["template_index"]) == {1}
    assert "the prompt is empty" in result.skipped["reason"][0]
    assert any("15 questions not scored: nothing stands before" in note for note in result.record.notes)
    assert result.rows.height == 75


def test_prompts_that_are_too_long_are_listed_with_the_reason():
    tokenizer = word_tokenizer(TEXTS)
    # BOS and "The mother of Ann Lee is" with a two-word answer need 8 positions, in context more.
    result = audit((tiny(len(tokenizer), positions=8), tokenizer), TABLE)
    assert set(result.skipped["direction"]) == {"in_context"}
    assert result.skipped.height == 30
    assert "more than the model's 8 positions" in result.skipped["reason"][0]
    assert set(result.rows["direction"]) == {"forward", "reverse"}


def test_names_that_hold_special_tokens_are_flagged(pair):
    table = TABLE.with_facts((*TABLE.facts, Fact("Zed <bos>", "mother", "Ann Lee")))
    result = audit(pair, table)
    flagged = result.rows.filter(pl.col("flag") != "")
    assert set(flagged["subject"]) == {"Zed <bos>"}
    assert set(flagged["flag"]) == {SPECIAL}
    assert any(SPECIAL in note for note in result.record.notes)


def test_the_record_traces_the_numbers(pair):
    result = audit(pair, TABLE, AuditConfig(candidates=7, seed=5))
    record = json.loads(result.record.to_json())
    assert (record["study"], record["seeds"], record["config"]["candidates"]) == ("audit", [5], 7)
    assert record["config"]["tokenizer"]["special_in_front"] == ["<bos>"]
    assert record["config"]["templates"]["mother"]["forward"] == list(MOTHER.forward)
    assert record["config"]["directions"] == ["forward", "reverse", "in_context"]
    assert record["tables"] == {"per_fact": "per_fact.parquet"}
    assert len(record["data"]["facts"]) == len(record["checkpoints"]["weights"]) == 64
    changed = TABLE.with_facts((*TABLE.facts[1:], replace(TABLE.facts[0], object="Ann Lee")))
    assert audit(pair, changed).record.data != result.record.data


def test_saving_writes_table_page_and_record(pair, tmp_path):
    result = audit(pair, TABLE)
    folder = result.save(tmp_path / "audit")
    record = result.record
    for name in ("record.json", "report.html", *record.tables.values(), *record.figures.values()):
        assert (folder / name).stat().st_size > 0, name
    assert not list(folder.rglob("*.tmp"))
    assert_frame_equal(pl.read_parquet(folder / "per_fact.parquet"), result.rows)
    assert json.loads((folder / "record.json").read_text())["run_id"] == result.record.run_id


def test_a_notebook_shows_a_table_and_a_picture(pair):
    result = audit(pair, TABLE)
    shown = result._repr_html_()
    assert shown.count("<table>") == 1
    assert "data:image/png;base64," in shown
    assert "<script" not in shown
    assert repr(result) == f"<{result.record.title}>"


def test_only_the_directions_asked_for(pair):
    result = audit(pair, TABLE, AuditConfig(directions=(Direction.FORWARD,)))
    assert set(result.rows["direction"]) == {"forward"}
    assert result.rows["class"].null_count() == result.rows.height


def test_a_relation_without_reverse_templates_is_named_in_the_notes(pair):
    table = FactTable(TABLE.facts, {"mother": replace(MOTHER, reverse=())})
    result = audit(pair, table)
    assert result.rows.height == 30
    assert "mother has no template to be asked reverse" in result.record.notes


PUBLISHED = Path(__file__).parents[1] / "facts" / "published"


@pytest.mark.parametrize("name", sorted(path.name for path in PUBLISHED.iterdir()))
def test_every_published_form_can_be_asked_and_what_reading_said_is_in_the_record(name):
    table = read_facts(PUBLISHED / name)
    tokenizer = bpe_tokenizer([f"{fact.subject} {fact.object}" for fact in table], 400)
    result = audit((tiny(len(tokenizer), 256), tokenizer), table)
    assert result.skipped.is_empty()
    asked = set(zip(result.rows["direction"], result.rows["prompt"], result.rows["answer"], strict=True))
    assert asked == {(q.direction.value, q.prompt, q.answer) for q in questions(table)}
    assert list(table.notes) == result.record.notes[: len(table.notes)]
    assert table.notes
    # Right in reverse: every child of the parent, every film of the director.
    for row in result.rows.filter(pl.col("direction") == "reverse").iter_rows(named=True):
        assert row["right_answers"] == len(table.subjects_of[row["object"], row["relation"]])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (FactTable(()), "nothing to ask"),
        (FactTable(TABLE.facts, {"mother": Relation("mother", ())}), "nothing to ask"),
        (FactTable(TABLE.facts), "no templates"),
    ],
)
def test_nothing_to_ask_is_an_error(pair, table, message):
    with pytest.raises(ValueError, match=message):
        audit(pair, table)


def test_a_model_without_numbers_is_an_error(pair):
    _, tokenizer = pair
    model = tiny(len(tokenizer))
    with torch.no_grad():
        model.transformer.ln_f.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="NaN"):
        audit((model, tokenizer), TABLE)


@pytest.mark.parametrize("wrong", [{"candidates": 0}, {"directions": ()}])
def test_a_config_that_asks_nothing_is_an_error(wrong):
    with pytest.raises(ValueError, match="at least"):
        AuditConfig(**wrong)


def padding_left(tokenizer):
    tokenizer.padding_side = tokenizer.truncation_side = "left"
    tokenizer.model_max_length = 4


def no_pad_token(tokenizer):
    tokenizer.pad_token = None


def another_pad_token(tokenizer):
    tokenizer.pad_token = tokenizer.unk_token
    tokenizer.backend_tokenizer.enable_padding(direction="left", length=64)
    tokenizer.backend_tokenizer.enable_truncation(5)


def eos_at_the_end(tokenizer):
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <unk>", special_tokens=[("<bos>", 0), ("<unk>", 1)]
    )


@pytest.mark.parametrize("change", [padding_left, no_pad_token, another_pad_token, eos_at_the_end])
def test_how_a_tokenizer_pads_truncates_and_ends_changes_no_number(pair, change):
    model, tokenizer = pair
    expected = audit(pair, TABLE).rows
    changed = copy.deepcopy(tokenizer)
    change(changed)
    assert_frame_equal(audit((model, changed), TABLE).rows, expected)
