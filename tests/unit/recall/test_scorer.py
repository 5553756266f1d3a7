"""The scorers against plain forward passes, one text at a time."""

import numpy as np
import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
)

from oneway.engine import Engine
from oneway.engine.opening import reader_of
from oneway.engine.own_code import OwnCode
from oneway.engine.prefix import Reader
from oneway.recall.scorer import CacheScorer, MemoryBudget, PlainScorer, Scores, choose_scorer

VOCAB = 23


def sharpened(model: PreTrainedModel) -> PreTrainedModel:
    """Random weights scaled up, so that the logits are far from flat."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4.0)
    return model.eval()


def gpt2() -> PreTrainedModel:
    torch.manual_seed(0)
    return sharpened(
        GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_positions=32, n_embd=16, n_layer=2, n_head=2))
    )


def gemma3_with_window() -> PreTrainedModel:
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        max_position_embeddings=64,
    )
    return sharpened(Gemma3ForCausalLM(config))


def mistral_with_window() -> PreTrainedModel:
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        sliding_window=5,
        max_position_embeddings=64,
    )
    return sharpened(MistralForCausalLM(config))


def phi() -> PreTrainedModel:
    torch.manual_seed(0)
    config = PhiConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    return sharpened(PhiForCausalLM(config))


def gpt_without_cache() -> PreTrainedModel:
    torch.manual_seed(0)
    return sharpened(
        OpenAIGPTLMHeadModel(
            OpenAIGPTConfig(vocab_size=VOCAB, n_positions=32, n_embd=16, n_layer=2, n_head=2)
        )
    )


def by_engine(model: PreTrainedModel) -> Reader:
    reader, reason = reader_of(model)
    assert isinstance(reader, Engine), reason
    return reader


READERS = pytest.mark.parametrize("read_by", [by_engine, OwnCode], ids=["engine", "own code"])


def asked(seed: int = 0) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]], np.ndarray]:
    """Contexts of unequal lengths, some with a common prefix or repeated; answers of 1–4 tokens."""
    rng = np.random.default_rng(seed)
    shared = tuple(rng.integers(VOCAB, size=6).tolist())
    contexts = [tuple(rng.integers(VOCAB, size=size).tolist()) for size in (1, 2, 2, 5, 9, 9)]
    contexts += [(*shared, int(last)) for last in rng.integers(VOCAB, size=4)]
    contexts.append(contexts[3])
    answers = [tuple(rng.integers(4, size=size).tolist()) for size in (1, 1, 2, 2, 3, 3, 3, 4, 4)]
    pairs = np.array([(c, a) for c in range(len(contexts)) for a in range(len(answers))])
    return contexts, answers, rng.permutation(pairs)[:-20]


def one_by_one(
    model: PreTrainedModel,
    contexts: list[tuple[int, ...]],
    answers: list[tuple[int, ...]],
    pairs: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    logprobs, greedy = [], []
    for c, a in pairs:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*contexts[c], *answers[a]]])).logits[0]
        rows = logits[len(contexts[c]) - 1 : -1].double()
        target = torch.tensor(answers[a])
        logprobs.append(float(rows.log_softmax(-1)[torch.arange(len(target)), target].sum()))
        greedy.append(bool((rows.argmax(-1) == target).all()))
    return np.array(logprobs), np.array(greedy)


@READERS
@pytest.mark.parametrize("build", [gpt2, gemma3_with_window, mistral_with_window])
def test_cache_scorer_equals_plain_forward_passes_one_by_one(build, read_by):
    model = build()
    contexts, answers, pairs = asked()
    expected, greedy = one_by_one(model, contexts, answers, pairs)
    scores = CacheScorer(read_by(model)).score(contexts, answers, pairs)
    assert np.ptp(expected) > 5, "the logits should not be flat"
    np.testing.assert_allclose(scores.logprob, expected, atol=1e-4)
    np.testing.assert_array_equal(scores.greedy, greedy)


@READERS
@pytest.mark.parametrize(
    "budget",
    [MemoryBudget(logits=1, cache=1, context_tokens=1), MemoryBudget(cache=3000)],
    ids=["one by one", "a few"],
)
def test_a_small_budget_changes_no_number(budget, read_by):
    model = gpt2()
    contexts, answers, pairs = asked(1)
    expected, greedy = one_by_one(model, contexts, answers, pairs)
    scores = CacheScorer(read_by(model), budget).score(contexts, answers, pairs)
    np.testing.assert_allclose(scores.logprob, expected, atol=1e-4)
    np.testing.assert_array_equal(scores.greedy, greedy)


def test_a_model_without_a_cache_is_scored_by_plain_passes_and_the_reason_is_given():
    model = gpt_without_cache()
    contexts, answers, pairs = asked(2)
    scorer, reason = choose_scorer(model)
    assert isinstance(scorer, PlainScorer)
    assert "key-value cache" in reason
    expected, greedy = one_by_one(model, contexts, answers, pairs)
    scores = scorer.score(contexts, answers, pairs)
    np.testing.assert_allclose(scores.logprob, expected, atol=1e-4)
    np.testing.assert_array_equal(scores.greedy, greedy)


def test_a_known_family_is_read_by_the_engine_and_any_other_with_its_own_cache():
    scorer, reason = choose_scorer(gpt2())
    assert isinstance(scorer, CacheScorer)
    assert reason == ""
    scorer, reason = choose_scorer(phi())
    assert isinstance(scorer, CacheScorer)
    assert reason.startswith("read by the model's own code: the architecture 'phi' is not read here")


def test_a_family_that_the_engine_gets_wrong_is_read_by_its_own_code():
    """As a model whose code was changed in memory: here, a block that does more than its weights say."""
    model = gpt2()
    model.transformer.h[0].register_forward_hook(lambda _, __, output: output * 1.5)
    contexts, answers, pairs = asked(4)
    expected, _ = one_by_one(model, contexts, answers, pairs)
    scorer, reason = choose_scorer(model)
    assert reason.startswith("read by the model's own code: in the engine this model's scores differ by")
    np.testing.assert_allclose(scorer.score(contexts, answers, pairs).logprob, expected, atol=1e-4)


@READERS
def test_what_answers_share_is_computed_once(monkeypatch, read_by):
    """Two equal contexts and answers a·b·c, a·b·d, a: one context, then the tokens a and b, once each."""
    calls: list[tuple[int, int]] = []
    reader = read_by(gpt2())
    original, scorer = reader.read_on, CacheScorer(reader)
    scorer.score([(1,)], [(1,)], np.array([(0, 0)]))  # measures the cache

    def counted(tokens, prefix=None):
        calls.append(tuple(tokens.shape))
        return original(tokens, prefix)

    monkeypatch.setattr(reader, "read_on", counted)
    pairs = np.array([(c, a) for c in range(2) for a in range(3)])
    scorer.score([(3, 4, 5), (3, 4, 5)], [(7, 8, 9), (7, 8, 10), (7,)], pairs)
    assert calls == [(1, 3), (1, 1), (1, 1)]
    calls.clear()
    scorer.score([(3, 4, 5), (3, 4, 6)], [(7,)], np.array([(0, 0), (1, 0)]))
    assert calls == [(1, 2), (2, 1)], "the common prefix of a batch runs once"
    calls.clear()
    scorer.score([(3, 4, 5), (6,)], [(7,)], np.array([(1, 0)]))
    assert calls == [(1, 1)], "a context that nothing is asked after does not run"


@pytest.mark.parametrize(
    ("contexts", "answers", "message"),
    [
        ([()], [(1,)], "empty context"),
        ([(1,)], [()], "empty answer"),
        ([(1,)], [(VOCAB,)], "tokenizer is not this model's"),
    ],
)
def test_what_cannot_be_scored_says_why(contexts, answers, message):
    with pytest.raises(ValueError, match=message):
        CacheScorer(by_engine(gpt2())).score(contexts, answers, np.array([(0, 0)]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("build", [gpt2, gemma3_with_window, mistral_with_window])
def test_a_half_precision_model_keeps_its_cache(build, dtype):
    model = build().to(dtype)
    scorer, reason = choose_scorer(model)
    assert isinstance(scorer, CacheScorer), reason
    assert reason == ""
    contexts, answers, pairs = asked(3)
    expected, _ = one_by_one(model, contexts, answers, pairs)
    scale = 4 * torch.finfo(dtype).eps * np.abs(expected).max()
    np.testing.assert_allclose(scorer.score(contexts, answers, pairs).logprob, expected, atol=scale)


@pytest.mark.parametrize(
    ("dtype", "off_by", "kept"),
    [
        (torch.float32, 5e-4, True),
        (torch.float32, 5e-3, False),
        (torch.float16, 5e-3, True),
        (torch.float16, 0.5, False),
        (torch.bfloat16, 0.05, True),
        (torch.bfloat16, 2.0, False),
    ],
)
def test_a_cache_that_is_off_by_more_than_rounding_is_not_used(monkeypatch, dtype, off_by, kept):
    """The made-up scores are near −13 nats (three tokens of 23), so rounding is 0.05 in float16, 0.4 in bfloat16."""
    score = CacheScorer.score

    def wrong(self, contexts, answers, pairs):
        found = score(self, contexts, answers, pairs)
        return Scores(found.logprob + off_by, found.greedy)

    monkeypatch.setattr(CacheScorer, "score", wrong)
    scorer, reason = choose_scorer(gpt2().to(dtype))
    assert isinstance(scorer, CacheScorer if kept else PlainScorer)
    assert ("scores differ by" in reason) is not kept


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_of_tokens_that_tie_the_one_that_a_greedy_decoder_takes_is_greedy(dtype):
    """Two tokens with one embedding have one logit; the decoder takes the first of them."""
    model, context = gpt2().to(dtype), (4, 5, 6)
    with torch.no_grad():
        top = int(model(torch.tensor([context])).logits[0, -1].argmax())
        others = [token for token in range(VOCAB) if token not in (*context, top)]
        twins = (others[0], top, others[-1])
        model.transformer.wte.weight[list(twins)] = model.transformer.wte.weight[top].clone()
        logits = model(torch.tensor([context])).logits[0, -1]
    assert logits[twins[0]] == logits[top] == logits[twins[2]] == logits.max()
    taken = int(
        model.generate(torch.tensor([context]), max_new_tokens=1, do_sample=False, pad_token_id=0)[0, -1]
    )
    assert taken == min(twins)
    for scorer in (CacheScorer(by_engine(model)), CacheScorer(OwnCode(model)), PlainScorer(model)):
        scores = scorer.score(
            [context], [(token,) for token in range(VOCAB)], np.array([(0, t) for t in range(VOCAB)])
        )
        assert np.flatnonzero(scores.greedy).tolist() == [taken]
        assert len({scores.logprob[token] for token in twins}) == 1
