"""Names that a tokenizer cannot tell apart are named, with their places, and do no harm to each other's ranks."""

import polars as pl
import pytest
import torch
from tokenizers import normalizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from oneway.facts import Fact, FactTable, Relation
from oneway.models.tokens import bpe_tokenizer, word_tokenizer
from oneway.recall.alike import ALIKE, Alike, unnamed
from oneway.recall.audit import audit
from oneway.recall.spans import SPECIAL, Splitter

MOTHER = Relation("mother", ("{subject} has the mother {object}",), ("{object} is the mother of {subject}",))
TABLE = FactTable(
    (
        Fact("Ann Lee", "mother", "May Wu", source="facts.csv:2"),
        Fact("Bea Roe", "mother", "Ida Orr", aliases=("IDA Orr",), source="facts.csv:3"),
        Fact("ANN LEE", "mother", "Una Coe", source="facts.csv:4"),
        Fact("ann lee", "mother", "MAY wu", source="facts.csv:5"),
        Fact("Cid Fox", "mother", "Ida Orr", source="facts.csv:6"),
    ),
    {"mother": MOTHER},
)


def lower_casing(*more: str) -> PreTrainedTokenizerFast:
    """A word-level tokenizer that takes no notice of case."""
    words = [f"{f.subject} has the mother {f.object} is of." for f in TABLE]
    tokenizer = word_tokenizer([text.lower() for text in (*words, *more)])
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer


def test_each_name_is_told_of_another_and_its_place():
    alike = Alike.of(TABLE, Splitter(lower_casing()))
    ann, bea, upper, lower, cid = (alike.flags(fact) for fact in TABLE)
    assert ann == (
        "the name 'Ann Lee': its tokens are also those of 'ANN LEE' (facts.csv:4) and 1 more",
        "the name 'May Wu': its tokens are also those of 'MAY wu' (facts.csv:5)",
    )
    assert upper == ("the name 'ANN LEE': its tokens are also those of 'Ann Lee' (facts.csv:2) and 1 more",)
    assert len(lower) == 2
    assert bea == cid == (), "spellings of one answer may be alike"


def test_where_case_is_told_apart_nothing_is_alike():
    alike = Alike.of(TABLE, Splitter(bpe_tokenizer(["Ann Lee has the mother May Wu"], 300)))
    assert not alike.subjects
    assert not alike.objects


def test_unknown_names_are_flagged_as_unknown_and_not_as_alike():
    table = TABLE.with_facts((Fact("Xix Yoy", "mother", "Zaz"), Fact("Qoq Kik", "mother", "Vuv")))
    alike = Alike.of(table, Splitter(lower_casing()))
    assert not alike.subjects
    assert not alike.objects


def test_an_audit_flags_their_rows_counts_them_and_keeps_their_ranks():
    torch.manual_seed(0)
    tokenizer = lower_casing()
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_positions=48, n_embd=16, n_layer=1, n_head=2)
    )
    result = audit((model, tokenizer), TABLE)
    rows = result.rows
    flagged = rows.filter(pl.col("flag").str.contains("its tokens are also those of", literal=True))
    assert set(flagged["source"]) == {"facts.csv:2", "facts.csv:4", "facts.csv:5"}
    assert f"{flagged.height} questions: {ALIKE}" in result.record.notes
    assert flagged.height == 9
    # Asked in context, where one answer is right: the same tokens have the same score, and none is pushed down.
    stated = rows.filter(
        (pl.col("direction") == "in_context") & pl.col("subject").is_in(["Ann Lee", "ann lee"])
    )
    first, second = stated["prompt"]
    assert first.lower() == second.lower()
    assert stated["logprob"][0] == stated["logprob"][1]
    assert stated["rank"][0] == stated["rank"][1]
    without = audit((model, tokenizer), TABLE.with_facts((*TABLE.facts[:2], TABLE.facts[4])))
    alone = without.rows.filter((pl.col("direction") == "in_context") & (pl.col("subject") == "Ann Lee"))
    assert stated["rank"][0] <= alone["rank"][0], "names like it do not count against it"


@pytest.mark.parametrize(
    ("flag", "short"),
    [
        ("", None),
        (SPECIAL, SPECIAL),
        ("the name 'a': its tokens are also those of 'A' (f.csv:1); x", ALIKE),
        (f"{SPECIAL}; the name 'a\n; b': its tokens are also those of 'A'", f"{SPECIAL}; {ALIKE}"),
    ],
)
def test_flags_are_counted_without_the_names_in_them(flag: str, short: str | None):
    assert unnamed(pl.Series([flag], dtype=pl.String)).to_list() == ([] if short is None else [short])
