"""Blocks against the world's own sentences, margins by hand, resume, and every branch of the verdicts."""

import math
from dataclasses import replace

import numpy as np
import pytest

from oneway.evidence import Estimate, Verdict
from oneway.facts.chains import LEADS_TO, chains
from oneway.facts.worlds import arrows
from oneway.models.architecture import gpt2
from oneway.models.transformer import initial_weights, logits
from oneway.studies.sentence_training import Decoder, Schedule
from oneway.studies.weights import (
    CLAIMS,
    ENDS,
    STUDY,
    Block,
    blocks_of_chains,
    blocks_of_pairs,
    logits_of,
    margins,
)

SMALL = replace(
    STUDY.config("quick"),
    vocabulary=40,
    decoder=Decoder(layers=1, width=16, heads=2),
    schedule=Schedule(epochs=3, batch=16, evaluations=3, seeds_at_once=2),
    seeds=(0, 1),
    shown=4,
)


def stated(block: Block) -> set[tuple[int, ...]]:
    answers = block.columns[np.arange(len(block.columns)), block.right]
    return {(*question, answer) for question, answer in zip(block.questions.tolist(), answers, strict=True)}


def test_blocks_of_pairs_are_the_sentences_of_the_world() -> None:
    world = arrows(40, seed=1)
    blocks = blocks_of_pairs(world)
    train = [tuple(s) for s in world.train.tolist()]
    both = {s for s, b in zip(train, world.train_both_ways, strict=True) if b}
    assert stated(blocks["both_ways"]) == both
    assert stated(blocks["seen"]) == set(train) - both
    assert stated(blocks["unseen"]) == {tuple(s) for s in world.validation.tolist()}
    targets = {(arrow, answer) for _, arrow, answer in train}
    for name, is_target in (("seen", True), ("unseen", False)):
        block = blocks[name]
        for question, columns, peers in zip(block.questions, block.columns, block.peers, strict=True):
            for column, peer in zip(columns.tolist(), peers.tolist(), strict=True):
                if peer:
                    assert ((int(question[1]), column) in targets) == is_target


def test_blocks_of_chains_are_the_sentences_of_the_world() -> None:
    world = chains(40, seed=1)
    blocks = blocks_of_chains(world)
    train = {tuple(s) for s in world.train.tolist()}
    conclusions = {s for s in train if s[1] == LEADS_TO}
    assert stated(blocks["conclusion_seen"]) == conclusions
    assert stated(blocks["conclusion_unseen"]) == {tuple(s) for s in world.validation.tolist()}
    assert stated(blocks["first_step"]) | stated(blocks["second_step"]) <= train - conclusions
    ends = set(world.held_out[:, 2].tolist())
    assert set(blocks["conclusion_unseen"].columns[blocks["conclusion_unseen"].peers].tolist()) == ends


def test_margins_by_hand() -> None:
    block = Block(
        questions=np.zeros((3, 2), dtype=int),
        columns=np.tile(np.arange(3), (3, 1)),
        right=np.array([0, 1, 2]),
        peers=np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=bool),
    )
    found = margins(np.array([[5.0, 1, 3], [2, 0, 4], [0, 0, 6]]), block)
    assert found["margin"] == pytest.approx(((5 - 2) + (0 - 3) + (6 - 0)) / 3)
    assert found["margin_among_peers"] == pytest.approx(((5 - 1) + (0 - 2)) / 2)  # the third row has no peer
    assert found["first"] == pytest.approx(2 / 3)


def test_logits_are_those_of_a_plain_forward_up_to_a_constant_per_row() -> None:
    import torch

    worlds = [arrows(40, seed=seed) for seed in (1, 2)]
    blocks = [blocks_of_pairs(w)["unseen"] for w in worlds]
    a = gpt2(vocab=42, context=2, layers=1, width=16, heads=2)
    weights = {n: w * 6 for n, w in initial_weights(a, (1, 2)).items()}
    found = logits_of(blocks, weights, a)
    plain = logits(weights, torch.from_numpy(np.stack([b.questions for b in blocks])), a)[:, :, -1].numpy()
    expected = np.take_along_axis(plain, np.stack([b.columns for b in blocks]), -1)
    centred = [x - x.mean(-1, keepdims=True) for x in (found, expected)]
    assert np.abs(centred[0] - centred[1]).max() < 1e-4


def test_finished_worlds_are_not_trained_again_and_end_with_the_same_numbers(tmp_path, monkeypatch) -> None:
    whole = STUDY.experiment(SMALL, SMALL.seeds, None)
    from oneway.training import fit

    taken, original = 0, fit.last_tokens_loss

    def counted(*arguments):
        nonlocal taken
        taken += 1
        if taken == 14:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(fit, "last_tokens_loss", counted)
    with pytest.raises(KeyboardInterrupt):
        STUDY.experiment(SMALL, SMALL.seeds, tmp_path)
    taken = -1000
    assert STUDY.experiment(SMALL, SMALL.seeds, tmp_path).equals(whole)
    measured = STUDY.measure(whole)
    assert STUDY.figure(measured, whole).axes


def test_one_seed_decides_nothing() -> None:
    curves = STUDY.experiment(SMALL, (0,), None)
    assert {j.verdict for j in STUDY.judge(STUDY.measure(curves))} == {Verdict.INCONCLUSIVE}


def around(mean: float) -> Estimate:
    return Estimate(mean, mean - 0.001, mean + 0.001, 10, "")


@pytest.mark.parametrize(
    ("change", "pairs", "chain", "steps"),
    [
        ({}, "reproduced", "reproduced", "reproduced"),
        ({"both_ways_first": 0.9}, "inconclusive", "reproduced", "reproduced"),
        ({"conclusion_seen_first": 0.9}, "reproduced", "inconclusive", "inconclusive"),
        ({"seen_margin": 2.0}, "inconclusive", "reproduced", "reproduced"),
        ({"unseen_margin_among_peers": 3.0}, "contradicted", "reproduced", "reproduced"),
        ({"unseen_margin_among_peers": 0.5}, "inconclusive", "reproduced", "reproduced"),
        ({"conclusion_unseen_margin_among_peers": 3.0}, "reproduced", "contradicted", "reproduced"),
        ({"first_step_margin": 2.0}, "reproduced", "reproduced", "contradicted"),
        ({"first_step_margin": 5.0}, "reproduced", "reproduced", "inconclusive"),
        ({"unseen_margin": math.nan}, "inconclusive", "reproduced", "reproduced"),
    ],
    ids=str,
)
def test_every_branch_of_the_verdicts(change, pairs, chain, steps) -> None:
    means = {
        f"{block}_{quantity}": value
        for block in ("both_ways", "seen", "first_step", "second_step", "conclusion_seen")
        for quantity, value in (("margin", 10.0), ("first", 1.0))
    }
    for block in ("unseen", "conclusion_unseen"):
        means |= {f"{block}_margin": -5.0, f"{block}_margin_among_peers": 0.0, f"{block}_first": 0.0}
    measured = {f"{ends}_{name}": around(mean) for ends in ENDS for name, mean in (means | change).items()}
    verdicts = {claim.id: claim.judge(measured).verdict for claim in CLAIMS}
    assert verdicts == {
        "Z4": Verdict(pairs),
        "Z4.untied": Verdict(pairs),
        "Z4.chain": Verdict(chain),
        "Z4.untied-chain": Verdict(chain),
        "Z4.steps": Verdict(steps),
    }
