"""Heads against a plain loop, what is read against made-up models, and every branch of the verdicts."""

import numpy as np
import polars as pl
import pytest
import torch

from oneway.evidence import Estimate, Verdict
from oneway.facts.symbolic_episodes import BLANK, LEFT, RIGHT, crossed, known
from oneway.models.architecture import gpt2, neox
from oneway.models.transformer import initial_weights, logits
from oneway.studies import episode_reading
from oneway.studies.episode_reading import head_summary, read_crossed, read_heads, read_known
from oneway.studies.heads import heads_of, without_head
from oneway.studies.in_context import (
    AGREEING,
    CLAIMS,
    STUDY,
    Config,
    Model,
    Training,
    measure,
)

SMALL = Config(
    xs=6,
    ys=4,
    each=4,
    model=Model(layers=2, width=8, heads=2),
    knowing=Model(width=8, heads=2),
    published=Training(steps=2, batch=8, evaluations=1),
    competition=Training(steps=2, batch=8, evaluations=1, seeds_at_once=2),
    seeds=(0, 1, 2),
)
A = gpt2(vocab=12, context=6, layers=2, width=8, heads=2)


def models(seeds: tuple[int, ...] = (3, 4)) -> dict:
    """Large weights, so that patterns are far from uniform."""
    return {n: w * 12 if ".W_" in n else w for n, w in initial_weights(A, seeds).items()}


def test_patterns_and_ablations_are_those_of_a_plain_loop() -> None:
    weights, generator = models(), torch.Generator().manual_seed(0)
    tokens = torch.randint(12, (2, 5, 6), generator=generator)
    found = heads_of(weights, tokens, A)
    for seed in range(2):
        w = {n.removeprefix("blocks.0."): v[seed] for n, v in weights.items()}
        outs = []
        for sentence, pattern in zip(tokens[seed], found.pattern[seed, 0, 1], strict=True):
            x = w["W_E"][sentence] + w["W_pos"]
            normed = torch.nn.functional.layer_norm(x, (8,), w["ln1.w"], w["ln1.b"])
            q, k, v = (
                (normed @ w["W_QKV"] + w["b_QKV"])[:, 4:8],
                *((normed @ w["W_QKV"])[:, 8 * part + 4 : 8 * part + 8] for part in (1, 2)),
            )  # the second head
            scores = (q @ k.T / 2).masked_fill(torch.ones(6, 6).triu(1).bool(), -torch.inf)
            assert torch.allclose(pattern, scores.softmax(-1), atol=1e-5)
            outs.append(scores.softmax(-1) @ v @ w["W_O"][4:8])
        assert torch.allclose(found.mean_out[seed, 0, 1], torch.stack(outs).mean((0, 1)), atol=1e-4)


def test_without_a_head_its_mean_stands_in_and_nothing_else_changes() -> None:
    weights = models()
    tokens = torch.randint(12, (2, 5, 6), generator=torch.Generator().manual_seed(0))
    found = heads_of(weights, tokens, A)
    changed = without_head(weights, A, found, 1, 0)
    differing = {n for n in weights if not torch.equal(weights[n], changed[n])}
    assert differing == {"blocks.1.W_O", "blocks.1.b_O"}
    again = heads_of(changed, tokens, A)
    assert torch.allclose(again.pattern, found.pattern)
    assert again.mean_out[:, 1, 0].abs().max() == 0
    assert torch.allclose(again.mean_out[:, 1, 1], found.mean_out[:, 1, 1])
    assert not torch.allclose(logits(changed, tokens, A), logits(weights, tokens, A), atol=1e-3)
    # On one sentence's one position the mean is the output itself: nothing changes.
    one = tokens[:, :1, :1]
    same = without_head(weights, A, heads_of(weights, one, A), 0, 0)
    assert torch.allclose(logits(same, one, A), logits(weights, one, A), atol=1e-4)


def test_rotary_heads_are_refused() -> None:
    rotary = neox(vocab=5, context=4, layers=1, width=8, heads=2)
    with pytest.raises(ValueError, match="learned or no positions"):
        heads_of(initial_weights(rotary, [0]), torch.zeros(1, 1, 4, dtype=torch.long), rotary)


def test_heads_are_summed_up_by_hand() -> None:
    attention = np.array([[0.9, 0.1, 0.2], [0.1, 0.2, 0.8]])
    fall = np.array([[0.5, 0.1, 0.0], [0.3, 0.0, 0.2]])
    found = head_summary(attention, fall)
    assert found["agreement"].tolist() == [1, 0]
    assert found["top_attention"].tolist() == [0.9, 0.8]
    assert found["top_fall"].tolist() == [0.5, 0.2]
    assert found["fall_beyond_others"] == pytest.approx([0.45, 0.05])
    assert found["agreement_by_chance"].tolist() == [1 / 3, 1 / 3]
    assert found["fall.2"].tolist() == [0, 0.2]
    assert found["attention_fall_correlation"][0] == pytest.approx(np.corrcoef(attention[0], fall[0])[0, 1])


def test_what_is_read_of_the_published_world(monkeypatch) -> None:
    """A model that copies the first token with probability 0.7, and one that never does."""
    worlds = [crossed(6, 4, seed=s) for s in (0, 1)]
    vocabulary = worlds[0].vocabulary_size

    def known_answers(weights, a, sentences):
        p = np.full((2, sentences.shape[1], vocabulary), 0.3 / (vocabulary - 1))
        np.put_along_axis(p[:1], sentences[:1, :, :1], 0.7, -1)
        p[1, :, 0] = 0.7
        return np.log(p)

    monkeypatch.setattr(episode_reading, "logprobs_of", known_answers)
    found = read_crossed({}, A, worlds)
    nll = [-np.log(0.7), -np.log(0.3 / (vocabulary - 1))]
    assert found["validation_nll"] == pytest.approx(nll)
    assert found["train_nll"] == pytest.approx(nll)
    assert found["validation_excess"] == pytest.approx(np.array(nll) - np.log(vocabulary))
    assert found["validation_right"].tolist() == [1, 0]


@pytest.mark.parametrize("memory", [True, False], ids=["remembers", "reads"])
def test_what_is_read_of_a_model_that_knows_and_one_that_reads(monkeypatch, memory: bool) -> None:
    worlds = [known(4, seed=s) for s in (0, 1)]

    def answer(world, sentence) -> int:
        first, asked_of, relation = sentence[0], sentence[4], sentence[5]
        if relation == RIGHT:
            return world.y[world.x.tolist().index(asked_of)]
        pair = world.y.tolist().index(asked_of)
        if pair < 4 and (memory or first == BLANK):
            return world.x[pair]
        assert relation == LEFT
        return first

    def answers(weights, a, sentences):
        found = np.zeros((2, sentences.shape[1], worlds[0].vocabulary_size))
        for s, world in enumerate(worlds):
            for n, sentence in enumerate(sentences[s]):
                found[s, n, answer(world, sentence)] = 1
        return found

    monkeypatch.setattr(episode_reading, "logprobs_of", answers)
    found = {name: values.tolist() for name, values in read_known({}, A, worlds).items()}
    follows = 0.0 if memory else 1.0
    wanted = dict.fromkeys(("recalled", "forward", "one_way_in_context", "true_follows_context"), 1.0)
    wanted |= {"unknown_follows_context": 1.0, "conflict_follows_context": follows}
    wanted |= {"conflict_follows_memory": 1 - follows, "less_followed": 1 - follows}
    wanted |= {"one_way_over_chance": -1 / 4}
    assert found == {name: [value, value] for name, value in wanted.items()}


def test_a_killed_run_goes_on_and_ends_with_the_same_curves(tmp_path) -> None:
    whole = STUDY.experiment(SMALL, SMALL.seeds, tmp_path)
    kept = sorted(tmp_path.rglob("*.safetensors"))
    assert len(kept) == 1 + 2 + 2 + 2
    for file in kept[::2]:
        file.unlink()
    assert STUDY.experiment(SMALL, SMALL.seeds, tmp_path).equals(whole)
    measured = measure(whole)
    assert {name for claim in CLAIMS for name in claim.reads} <= set(measured)
    assert len(STUDY.figure(measured, whole).axes) == 3
    one = measure(whole.filter(pl.col("seed") == 0))
    assert {judged.verdict for judged in STUDY.judge(one)} == {Verdict.INCONCLUSIVE}


def test_heads_are_read_of_trained_models() -> None:
    """The fall of a head is the fall of the mean probability under weights without it."""
    worlds = [crossed(4, 4, seed=s) for s in (0, 1)]
    weights = models()
    found = read_heads(weights, A, worlds)
    assert {f"{name}.{h}" for name in ("attention", "fall") for h in range(4)} <= set(found)
    tokens = torch.from_numpy(np.stack([w.validation for w in worlds]))
    changed = without_head(weights, A, heads_of(weights, tokens[:, :, :-1], A), 1, 0)

    def mean_p(w: dict) -> np.ndarray:
        p = logits(w, tokens[:, :, :-1], A)[:, :, -1].softmax(-1)
        return p.gather(-1, tokens[:, :, -1:]).mean((1, 2)).numpy()

    assert found["fall.2"] == pytest.approx(mean_p(weights) - mean_p(changed), abs=1e-5)


def around(mean: float) -> Estimate:
    return Estimate(mean, mean - 0.001, mean + 0.001, 10, "")


KNOWN = dict.fromkeys(("recalled", "forward", "unknown_follows_context"), 0.99)
BASE = {
    "published_train_nll": 0.01, "published_validation_nll": 0.02, "published_validation_excess": -4.0,
    "published_validation_right": 0.99, "published_agreement": 0.9, "published_agreement_by_chance": 0.1,
    "published_top_attention": 0.9, "published_top_fall": 0.5, "published_fall_beyond_others": 0.4,
    "contradicting_one_way_in_context": 0.99, "contradicting_one_way_over_chance": 0.0,
    "untied_one_way_in_context": 0.99, "untied_one_way_over_chance": 0.0,
    "contradicting_conflict_follows_context": 0.99, "contradicting_conflict_follows_memory": 0.0,
    "agreeing_conflict_follows_context": 0.2, "agreeing_conflict_follows_memory": 0.7,
    "agreeing_less_followed": 0.7,
} | {f"{part}_{name}": value for part in AGREEING for name, value in KNOWN.items()}  # fmt: skip


@pytest.mark.parametrize(
    ("id", "change", "verdict"),
    [
        ("Z7", {}, "reproduced"),
        ("Z7", {"published_validation_right": 0.5}, "contradicted"),
        ("Z7", {"published_validation_right": 0.9}, "inconclusive"),
        ("Z7", {"published_validation_excess": 0.1}, "inconclusive"),
        ("Z7", {"published_train_nll": 0.2}, "inconclusive"),
        ("N4.head", {}, "reproduced"),
        ("N4.head", {"published_agreement": 0.2}, "contradicted"),
        ("N4.head", {"published_agreement": 0.5}, "inconclusive"),
        ("N4.head", {"published_fall_beyond_others": 0.0}, "inconclusive"),
        ("N4.head", {"published_validation_right": 0.9}, "inconclusive"),
        ("N4", {}, "reproduced"),
        ("N4", {"contradicting_one_way_in_context": 0.3}, "contradicted"),
        ("N4", {"contradicting_one_way_over_chance": 0.2}, "contradicted"),
        ("N4", {"contradicting_one_way_over_chance": 0.05}, "inconclusive"),
        ("N4", {"contradicting_recalled": 0.9}, "inconclusive"),
        ("N4.untied", {}, "reproduced"),
        ("N4.untied", {"untied_one_way_over_chance": 0.2}, "contradicted"),
        ("N4.untied", {"untied_recalled": 0.9}, "inconclusive"),
        ("N4.competition", {}, "reproduced"),
        ("N4.competition", {"agreeing_less_followed": 0.0}, "contradicted"),
        ("N4.competition", {"agreeing_less_followed": 0.05}, "inconclusive"),
        ("N4.competition", {"agreeing_unknown_follows_context": 0.8}, "inconclusive"),
        ("N4.reading-wins", {}, "reproduced"),
        ("N4.reading-wins", {"contradicting_conflict_follows_context": 0.5}, "contradicted"),
        ("N4.reading-wins", {"contradicting_conflict_follows_context": 0.9}, "inconclusive"),
        ("N4.reading-wins", {"contradicting_forward": 0.5}, "inconclusive"),
    ],
    ids=str,
)
def test_every_branch_of_the_rules(id: str, change: dict[str, float], verdict: str) -> None:
    claim = next(claim for claim in CLAIMS if claim.id == id)
    measured = {name: around(mean) for name, mean in (BASE | change).items()}
    assert claim.judge(measured).verdict is Verdict(verdict)
