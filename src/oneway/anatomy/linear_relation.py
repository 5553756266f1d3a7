"""A relation as one affine map from the name's last token to the answer: how faithful it is, and whether it is causal.

Source: Hernandez et al. 2023, Linearity of Relation Decoding in Transformer Language Models (LRE; arXiv 2308.09124).
Deviation: Jacobians by central differences through the engine's partial forward, not by automatic differentiation.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from oneway.anatomy.asked import Asked
from oneway.anatomy.probes import Swapped, norm, swapped
from oneway.engine import Engine, Patch, Residual, Site
from oneway.evidence.estimate import Estimate, over_facts

EXAMPLES, BETA = 8, 2.25  # of the source
STEP = 1e-2  # of a difference, in root mean squares of the stream


@dataclass(frozen=True, slots=True, eq=False)
class LinearRelation:
    """o ≈ β W s + b: from the stream on the name's last token after a layer to the last one at the prompt's end.

    W and b are means over a few facts of the Jacobian ∂o/∂s and of o − (∂o/∂s) s; `fitted_on` says which.
    """

    layer: int
    weight: Float[Tensor, "d_model d_model"]
    bias: Float[Tensor, " d_model"]
    fitted_on: tuple[int, ...]

    def __call__(
        self, subject: Float[Tensor, "fact d_model"], beta: float = BETA
    ) -> Float[Tensor, "fact d_model"]:
        return beta * subject @ self.weight.T + self.bias


def linear_relation(
    engine: Engine, asked: Asked, layer: int, *, examples: int = EXAMPLES, seed: int = 0
) -> LinearRelation:
    """Fit the map on a few facts drawn at random; the stream is that after `layer`.

    Raises ValueError where there are fewer than twice as many facts as examples: none would be left to judge by.
    """
    if len(asked) < 2 * examples:
        raise ValueError(f"{len(asked)} facts are too few to fit on {examples} and judge on the others")
    chosen = np.random.default_rng(seed).permutation(len(asked))[:examples]
    few = asked.only(chosen.tolist())
    at = Site("resid_post", layer, position=few.final)
    subject = engine.run(few.tokens, [at])[at]
    step = STEP * float(subject.square().mean().sqrt())
    directions = step * torch.eye(subject.shape[1]).to(subject)
    patches = [Patch(at, subject + sign * one) for one in directions for sign in (1, -1)]
    found = engine.effects(few.tokens, patches, Residual(after=engine.layers - 1))
    both = found.patched.unflatten(0, (-1, 2))
    jacobian = ((both[:, 0] - both[:, 1]) / (2 * step)).permute(1, 2, 0)  # [fact out in]
    bias = found.clean - (jacobian @ subject[..., None])[..., 0]
    return LinearRelation(layer, jacobian.mean(0), bias.mean(0), tuple(int(i) for i in chosen))


@dataclass(frozen=True, slots=True, eq=False)
class Relational:
    """How well the map stands for the relation, on facts that it was not fitted on.

    `faithful`: the share whose likeliest answer by the map is the model's own; `right`: that is the right one;
    `causal`: how often the model gives another fact's answer once the name's stream is moved by the pseudo-inverse.
    """

    faithful: Estimate
    right: Estimate
    causal: Swapped


def judge_relation(
    engine: Engine,
    asked: Asked,
    relation: LinearRelation,
    *,
    beta: float = BETA,
    rank: int | None = None,
    seed: int = 0,
) -> Relational:
    """Faithfulness and causality of a fitted map.

    Causality: s ← s + W⁺ (o' − o), W⁺ the pseudo-inverse of W at a rank (default: a third of d_model), o and o' the
    map's outputs for the fact and for one with another answer.
    """
    others = asked.only([i for i in range(len(asked)) if i not in relation.fitted_on])
    at = Site("resid_post", relation.layer, position=others.final)
    end = Site("resid_post", engine.layers - 1, position=others.last)
    found = engine.run(others.tokens, [at, end])
    subject = found[at]
    predicted = relation(subject, beta)
    own, told = (_answers(engine, others, stream) for stream in (found[end], predicted))
    source = others.others(seed=seed)
    left, values, right = torch.linalg.svd(relation.weight, full_matrices=False)
    kept = rank or max(1, len(values) // 3)
    inverse = right[:kept].T @ torch.diag(1 / values[:kept].clamp_min(1e-12)) @ left[:, :kept].T
    outputs = relation(subject, 1.0)
    moved = subject + (outputs[source] - outputs) @ inverse.T
    return Relational(
        over_facts((own == told).double().cpu().numpy(), "probability"),
        over_facts((told.cpu() == others.right).double().numpy(), "probability"),
        swapped(engine, others, [Patch(at, moved)], ["moved"], source)["moved"],
    )


def _answers(engine: Engine, asked: Asked, stream: Float[Tensor, "fact d_model"]) -> Tensor:
    weights = engine.weights
    normed = norm(stream, weights.ln_f_w, weights.ln_f_b, engine.form)
    return (normed @ weights.W_U[:, asked.answers.to(stream.device)]).argmax(-1)
