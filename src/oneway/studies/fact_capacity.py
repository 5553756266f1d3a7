"""How many bits a small transformer keeps of random facts: names of two tokens, an attribute drawn uniformly.

A sentence is [first name, surname, value]. What is kept is N (log₂k − loss/ln 2) bits: the facts' entropy less what
their loss leaves, in the manner of Allen-Zhu & Li 2024 (arXiv 2404.05405), section 2. Deviations: the names are
given, not recalled; a single layer; an attribute of one token. An exposure is one sentence of a fact seen once.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

NAMES, VALUES = 72, 64  # first names, as many surnames; values of the attribute


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A GPT-2 style decoder of one layer and two heads: residual width and neurons."""

    width: int
    neurons: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """How often every fact is told, and how it is learnt.

    `offered` is the facts' entropy in bits per parameter. An exposure is `parts` steps whatever the number of facts,
    so that models of every size take as many steps.
    """

    exposures: int
    offered: float = 2.5
    parts: int = 4
    learning_rate: float = 0.02
    muon_learning_rate: float = 0.05


def facts_of(count: int, seed: int) -> Int[np.ndarray, "fact 3"]:
    """Different names, each with a value at random. Raises ValueError for more facts than names."""
    if not 1 <= count <= NAMES**2:
        raise ValueError(f"{count:,} facts need as many names, of which there are {NAMES**2:,}")
    rng = np.random.default_rng((seed, count))
    names = rng.permutation(NAMES**2)[:count]
    values = 2 * NAMES + rng.integers(VALUES, size=count)
    return np.stack([names // NAMES, NAMES + names % NAMES, values], 1)


def keeps(
    shape: Shape, telling: Telling, seeds: Sequence[int], workspace: Path | None
) -> list[dict[str, Any]]:
    """Tell every seed its facts and measure what it keeps; a row per seed, with bits, facts known and parameters."""
    import torch

    from oneway.models.architecture import Architecture
    from oneway.models.transformer import initial_weights
    from oneway.studies.sentence_training import Epochs, answers
    from oneway.training.fit import fit, last_tokens_loss
    from oneway.training.optimisers import Optimisation

    a = Architecture(
        vocab=2 * NAMES + VALUES, context=2, layers=1, width=shape.width, heads=2, mlp=shape.neurons
    )
    weights = initial_weights(a, seeds)
    parameters = sum(weight[0].numel() for weight in weights.values())
    count = round(telling.offered * parameters / math.log2(VALUES))
    sentences = np.stack([facts_of(count, seed) for seed in seeds])
    epochs = Epochs(sentences, seeds, math.ceil(count / telling.parts), 1)
    fitted = fit(
        weights,
        a,
        epochs,
        Optimisation(
            steps=telling.exposures * epochs.steps,
            learning_rate=telling.learning_rate,
            weight_decay=0.0,
            matrices="muon",
            muon_learning_rate=telling.muon_learning_rate,
            muon_weight_decay=0.0,
            query_key_share=1.0,
            schedule="linear",
        ),
        objective=last_tokens_loss,
        workspace=workspace,
        fingerprint=str((tuple(seeds), asdict(telling))),
    )
    with torch.no_grad():
        right, all_of = answers(fitted.weights, a, torch.from_numpy(sentences), 1)
    known = (all_of[:, :, 0].argmax(-1).numpy() == sentences[:, :, -1]).sum(1)
    bits = count * (math.log2(VALUES) + right.double().mean(1).numpy() / math.log(2))
    return [
        {"seed": seed, "bits": float(b), "known": float(k), "facts": count, "parameters": parameters}
        for seed, b, k in zip(seeds, bits, known, strict=True)
    ]
