"""Locality against contexts cut and run one by one, text read in pieces, token classes, and quantiles from counts."""

import tracemalloc
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import tiny_model
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from oneway.anatomy import passages as reading
from oneway.anatomy.locality import ANOTHER, Cuts, mean_streams, measure_locality, similarities
from oneway.anatomy.passages import passages
from oneway.anatomy.spread import Spread
from oneway.anatomy.token_classes import CLASSES, token_classes
from oneway.engine import open_model
from oneway.models.tokens import bpe_tokenizer, word_tokenizer

TEXT = "The cat sat on a mat, and the dog, who was not there, ran to it. A bird sang in the old tree.\n"
CUTS = Cuts(longest=4, passage=9, shuffled=3)


def tokenizer(bos: bool) -> PreTrainedTokenizerFast:
    made = word_tokenizer([TEXT])
    if not bos:
        made.bos_token = None
    return made


def plain(model: PreTrainedModel, front: Tensor, ids: Tensor) -> Tensor:
    """The residual stream on the last token after every block, by the model's own code: [layer d_model]."""
    kept: list[Tensor] = []
    blocks = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList))
    hooks = [
        block.register_forward_hook(
            lambda _, __, out: kept.append((out[0] if isinstance(out, tuple) else out)[0, -1])
        )
        for block in blocks
    ]
    with torch.inference_mode():
        model(torch.cat((front, ids))[None])
    for hook in hooks:
        hook.remove()
    return torch.stack(kept)


@pytest.mark.parametrize(
    ("name", "bos"),
    [("neox", True), ("llama3", True), ("gpt2", False), ("qwen3", False), ("opt", True)],
    ids=["neox", "llama", "gpt2 without BOS", "qwen3 without BOS", "opt, with hooks"],
)
def test_cosines_are_those_of_contexts_cut_and_run_one_by_one(name, bos):
    model, words = tiny_model(name), tokenizer(bos)
    opened = open_model((model, words), device="cpu")
    ids = torch.tensor(words(TEXT, add_special_tokens=False)["input_ids"])[:24].view(3, 8)
    front = torch.tensor([words.bos_token_id] if bos else [], dtype=torch.int64)
    centre = mean_streams(opened, [ids])
    full = torch.stack([torch.stack([plain(model, front, row[: t + 1]) for t in range(8)]) for row in ids])
    torch.testing.assert_close(centre, full.mean((0, 1)), rtol=0, atol=1e-5)
    classes = np.zeros((3, 4), np.int64)
    found = similarities(opened, ids, centre, CUTS, classes, np.random.default_rng(0))
    for k, row, token in product(range(1, 5), range(3), range(4, 8)):
        cut = plain(model, front, ids[row, token + 1 - k : token + 1])
        expected = torch.cosine_similarity(full[row, token] - centre, cut - centre, dim=-1)
        torch.testing.assert_close(found.cut[:, k - 1, row, token - 4], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.whole, torch.ones_like(found.whole), rtol=0, atol=1e-5)


def test_what_is_compared_by_chance_is_what_was_drawn():
    """A shuffled context of two tokens, and another token of the class, against all that could have been drawn."""
    model, words = tiny_model("neox"), tokenizer(True)
    opened = open_model((model, words), device="cpu")
    ids = torch.tensor(words(TEXT, add_special_tokens=False)["input_ids"])[:8][None]
    cuts, front = Cuts(longest=4, passage=8, shuffled=2), torch.tensor([words.bos_token_id])
    centre = mean_streams(opened, [ids])
    classes = np.array([[0, 1, 0, 2]])
    found = similarities(opened, ids, centre, cuts, classes, np.random.default_rng(0))
    shuffled, another = found.cut[:, -2, 0], found.cut[:, -1, 0]
    full = [plain(model, front, ids[0, : t + 1]) - centre for t in range(8)]
    assert another.isnan().all(0).tolist() == [False, True, False, True], "alone of their class"
    expected = torch.cosine_similarity(full[4], full[6], dim=-1)
    torch.testing.assert_close(another[:, 0], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(another[:, 2], expected, rtol=0, atol=1e-5)
    for at, token in enumerate(range(4, 8)):
        possible = [
            torch.cosine_similarity(plain(model, front, ids[0, [other, token]]) - centre, full[token], dim=-1)
            for other in range(8)
        ]
        assert any(torch.allclose(one, shuffled[:, at], atol=1e-5) for one in possible)


def test_a_file_is_measured_in_parts_that_make_up_the_whole(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(TEXT * 3, encoding="utf-8")
    opened = open_model((tiny_model("neox"), tokenizer(True)), device="cpu")
    (whole,), parts = (measure_locality(opened, text, CUTS, parts=n) for n in (1, 3))
    np.testing.assert_array_equal(  # the cuts are alike; what is drawn by chance is, too
        sum(part.spread.counts for part in parts), whole.spread.counts
    )
    assert sum(part.tokens for part in parts) == whole.tokens
    assert whole.whole == pytest.approx(1, abs=1e-5)
    frame = whole.to_frame()
    row = frame.filter(layer=1, context="2", **{"class": "common word"})
    assert row["tokens"].item() > 0
    kinds = dict(frame.filter(layer=0, context="1").select("class", "tokens").iter_rows())
    assert kinds["all"] == whole.tokens == sum(kinds.get(name, 0) for name in CLASSES)
    assert "newline" not in kinds, "the tokenizer of words has no token for it"
    histograms = whole.histograms().filter(layer=0, context=ANOTHER)
    assert (
        histograms["tokens"].sum()
        == frame.filter(layer=0, context=ANOTHER, **{"class": "all"})["tokens"].item()
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("The cat", "too few tokens"),
        (b"caf\xe9", "not UTF-8"),
        (TEXT, "3 passages .* 9 are"),
    ],
    ids=["empty", "short", "latin-1", "fewer passages than parts"],
)
def test_a_text_that_cannot_be_measured_is_refused(content, said, tmp_path):
    text = tmp_path / "text.txt"
    text.write_bytes(content if isinstance(content, bytes) else content.encode())
    opened = open_model((tiny_model("neox"), tokenizer(True)), device="cpu")
    with pytest.raises(ValueError, match=said):
        measure_locality(opened, text, CUTS, parts=9)


def test_cuts_that_compare_nothing_are_refused():
    with pytest.raises(ValueError, match="longest < passage"):
        Cuts(longest=10, passage=10)
    opened = open_model((tiny_model("neox"), tokenizer(True)), device="cpu")
    with pytest.raises(ValueError, match="reads 64 tokens"):
        measure_locality(opened, Path("unread"), Cuts(longest=63, passage=100))


WORDS = st.lists(st.sampled_from(["The", "cat", "naïve", "x1", "3.5", "don't", "…", ","]), max_size=40)
SPACES = st.lists(st.sampled_from([" ", "  ", "\n", "\n\n", " \n"]), min_size=40, max_size=40)
MADE = {"words": word_tokenizer([TEXT + " naïve x1 3.5 don't …"]), "bpe": bpe_tokenizer([TEXT], 300)}


@given(words=WORDS.filter(bool), spaces=SPACES, piece=st.integers(1, 20), at_once=st.integers(1, 3))
@pytest.mark.parametrize("name", sorted(MADE))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_text_read_in_pieces_has_the_tokens_of_the_whole(name, words, spaces, piece, at_once, tmp_path):
    content = "".join(part for pair in zip(words, spaces, strict=False) for part in pair)
    text = tmp_path / "text.txt"
    text.write_text(content, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reading, "PIECE", piece)
        found = [row for batch in passages(text, MADE[name], 5, at_once) for row in batch.tolist()]
    assert [id_ for row in found for id_ in row] == MADE[name](content, add_special_tokens=False)["input_ids"]
    assert all(len(row) == 5 for row in found[:-1])


def test_a_long_text_is_never_held(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(TEXT * 30_000, encoding="utf-8")
    tracemalloc.start()
    size = sum(batch.numel() for batch in passages(text, tokenizer(True), 64, 8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert text.stat().st_size > 2_500_000
    assert size == 28 * 30_000
    assert peak < text.stat().st_size


def test_classes_of_tokens():
    made = bpe_tokenizer(["The cat sat there.\nThe cat, the catfish 42 of the sea\n\n"] * 9, 290)
    kinds = dict(
        zip(made.convert_ids_to_tokens(range(len(made))), token_classes(made, len(made) + 2), strict=False)
    )
    named = {name: CLASSES[number] for name, number in kinds.items()}
    assert named["Ċ"] == "newline"
    assert (named["."], named[","], named["4"], named["<bos>"]) == ("full stop", "comma", "other", "other")
    assert (named["Ġthe"], named["Ġcat"], named["at"]) == ("common word", "word", "word piece")
    assert token_classes(made, len(made) + 2)[-1] == CLASSES.index("other")
    words = tokenizer(True)
    assert CLASSES[token_classes(words, len(words))[words.convert_tokens_to_ids("cat")]] == "word"


def test_quantiles_and_means_are_those_of_the_values():
    rng = np.random.default_rng(0)
    values = torch.from_numpy(np.tanh(rng.normal(0.3, 1, (2, 3, 500))))
    values[0, 1, :100] = torch.nan
    classes = rng.integers(0, 2, 500)
    spread = Spread.empty(2, 3, 2)
    for part in (slice(0, 200), slice(200, 500)):
        spread.add(values[..., part], classes[part])
    for layer, comparison, kind in product(range(2), range(3), range(2)):
        own = values[layer, comparison, classes == kind].numpy()
        own, place = own[~np.isnan(own)], (layer, comparison, kind)
        assert spread.size[place] == len(own)
        for share in (0.05, 0.5, 0.9):
            assert abs(spread.quantile(share)[place] - np.quantile(own, share)) < 0.03
        assert spread.median_square()[place] == pytest.approx(np.median(own**2), abs=0.02)
        assert spread.mean()[place] == pytest.approx(own.mean())
        assert spread.mean(2)[place] == pytest.approx((own**2).mean())
    assert np.isnan(Spread.empty(1, 1, 1).quantile(0.5)).all()
    ends = Spread.empty(1, 1, 1)
    ends.add(torch.tensor([[[-1.0, 1.0, 1.0]]]), np.zeros(3, np.int64))
    assert ends.quantile(0.9).item() == pytest.approx(1, abs=0.005)
