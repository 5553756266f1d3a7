"""What the units of a memoriser are: tables over the finite input, weak on their own, and not independent."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from oneway.studies.memoriser import Memorised, Network, Pairs, initial_weights, scores, units


def ruled_answers(
    network: Network, numbers: Int[np.ndarray, "seed pair"], seeds: Sequence[int]
) -> Int[np.ndarray, "seed pair 1"]:
    """A binary answer that one unit could give: the side of a random plane through the embeddings that a pair is on."""
    embeddings = initial_weights(network, seeds)["E"].numpy()
    found = []
    for of_seed, seed, (left, right) in zip(numbers, seeds, embeddings, strict=True):
        plane = np.random.default_rng((seed, 4)).normal(size=(2, left.shape[1]))
        a, b = np.divmod(of_seed, network.integers)
        found.append(((left @ plane[0])[a] + (right @ plane[1])[b] > 0).astype(np.int64))
    return np.stack(found)[..., None]


def anatomy_of_units(memorised: Memorised, pairs: Pairs, seeds: Sequence[int]) -> list[dict[str, float]]:
    """What is read of the units of every seed's binary memoriser.

    `tables`: the share of all inputs at which the sum of the units' tables answers as the network does, and
    `tables_without_one` without the table that varies most; `active`: the share of inputs at which a unit is not 0;
    `best_auc`: of the unit that tells the two answers apart best on the pairs that were learnt; `bagged`: the
    accuracy of the same units made independent, each unit's votes shuffled among pairs of the same answer;
    `vote_correlation`: the mean correlation of two units' votes among pairs of the same answer.
    """
    import torch

    network, weights = memorised.network, memorised.weights
    everything = torch.arange(network.integers**2).expand(len(seeds), -1)
    with torch.no_grad():
        tables = units(network, weights, everything)
        said = scores(network, weights, tables)[:, :, 0].argmax(-1).numpy()
    found = []
    for place, seed in enumerate(seeds):
        numbers, answers = pairs.numbers[place], pairs.answers[place, :, 0]
        votes = (tables[place] * weights["W_out"][place, :, 0]).numpy()
        bias = float(weights["b_out"][place, 0])
        total, largest = votes.sum(1) + bias, votes.std(0).argmax()
        learnt = votes[numbers]
        found.append(
            {
                "tables": float(((total > 0) == said[place]).mean()),
                "tables_without_one": float((((total - votes[:, largest]) > 0) == said[place]).mean()),
                "active": float((tables[place] > 0).double().mean()),
                "best_auc": best_auc(learnt, answers),
                "accuracy": float(((learnt.sum(1) + bias > 0) == answers).mean()),
                "bagged": bagged_accuracy(learnt, bias, answers, seed),
                "vote_correlation": vote_correlation(learnt, answers),
            }
        )
    return found


def best_auc(votes: Float[np.ndarray, "pair unit"], answers: Int[np.ndarray, " pair"]) -> float:
    """The largest area under the curve of any unit alone for the answer, whichever way round it votes."""
    from scipy.stats import rankdata

    ones = answers == 1
    n_ones, n_zeros = int(ones.sum()), int((~ones).sum())
    ranks = rankdata(votes, axis=0)[ones].sum(0)
    auc = (ranks - n_ones * (n_ones + 1) / 2) / (n_ones * n_zeros)
    return float(np.maximum(auc, 1 - auc).max())


def bagged_accuracy(
    votes: Float[np.ndarray, "pair unit"], bias: float, answers: Int[np.ndarray, " pair"], seed: int
) -> float:
    """The accuracy of the sum where each unit keeps its distribution given the answer, independently of the others."""
    rng, shuffled = np.random.default_rng((seed, 5)), np.empty_like(votes)
    for answer in (0, 1):
        of = answers == answer
        shuffled[of] = rng.permuted(votes[of], axis=0)
    return float(((shuffled.sum(1) + bias > 0) == answers).mean())


def vote_correlation(votes: Float[np.ndarray, "pair unit"], answers: Int[np.ndarray, " pair"]) -> float:
    """The mean correlation of two units' votes among pairs of the same answer; units that never vary are left out."""
    found = []
    for answer in (0, 1):
        of = votes[answers == answer]
        correlations = np.corrcoef(of[:, of.std(0) > 0].T)
        found.append(correlations[~np.eye(len(correlations), dtype=bool)].mean())
    return float(np.mean(found))
