"""What is measured of a dictionary: what its latents stand for, what moves without them, what it misses.

Examples are athletes in several texts, read on the last token of the name. Of first names, surnames and sports a latent
is matched on one half of the people and judged on the other; of entities, who each are one person, on half of the texts
and on the other half.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from oneway.anatomy.latents import Agreement, Held, agreement, kinds_of_latents

if TYPE_CHECKING:
    from oneway.anatomy.asked import Asked
    from oneway.anatomy.sparse_autoencoder import SparseAutoencoder
    from oneway.engine import Engine, Site

Found = dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """The same athletes in several texts, in one order; the first text is the question that is asked of the model."""

    texts: tuple["Asked", ...]
    labels: Mapping[str, Int[np.ndarray, " fact"]]  # of each kind
    half: Int[np.ndarray, " fact"]  # the people, in a random order

    @property
    def question(self) -> "Asked":
        return self.texts[0]

    def shuffled(self, rng: np.random.Generator) -> "People":
        """The same people with names and sports dealt anew: what matches these matches by chance."""
        dealt = {kind: rng.permutation(label) for kind, label in self.labels.items()}
        return People(self.texts, dealt, self.half)


def people(texts: Sequence["Asked"], seed: int) -> People:
    """Raises ValueError where the texts are not about the same people in the same order."""
    names = [fact.subject for fact in texts[0].facts]
    if any([fact.subject for fact in one.facts] != names for one in texts):
        raise ValueError("the texts are not about the same people in the same order")
    words = np.array([name.split() for name in names])
    labels = {
        "sport": texts[0].right.numpy(),
        "first name": np.unique(words[:, 0], return_inverse=True)[1],
        "surname": np.unique(words[:, -1], return_inverse=True)[1],
        "entity": np.arange(len(names)),
    }
    return People(tuple(texts), labels, np.random.default_rng((seed, 3)).permutation(len(names)))


def held_out(latents: Float[np.ndarray, "text fact latent"], people: People) -> dict[str, Held]:
    """Every kind by two sets of examples, see the head of this file."""
    texts, facts, _ = latents.shape
    one, other = people.half[: facts // 2], people.half[facts // 2 :]
    found = {}
    for kind, label in people.labels.items():
        values = int(label.max()) + 1
        if kind == "entity":
            found[kind] = Held(
                _agreed(latents[: texts // 2], np.arange(facts), values),
                _agreed(latents[texts // 2 :], label, values),
            )
        else:
            found[kind] = Held(
                _agreed(latents[:, one], label[one], values), _agreed(latents[:, other], label[other], values)
            )
    return found


def _agreed(latents: np.ndarray, label: np.ndarray, values: int) -> Agreement:
    flat = latents.reshape(-1, latents.shape[-1])
    return agreement(flat, np.tile(label, len(latents)), values)


def stood_for(latents: Float[np.ndarray, "text fact latent"], people: People) -> Found:
    """Of each kind: the mean AUC of its values' best latents, the share of the values that a latent stands for, and the
    share of the latents that fire on names which stand for one."""
    held = held_out(latents, people)
    kinds = kinds_of_latents(held)
    fires = max(1, int((latents > 0).any((0, 1)).sum()))
    found = {}
    for kind, value in kinds.items():
        met = np.unique(people.labels[kind]).size
        found[f"{kind} auc"] = float(held[kind].sensitivity.mean())
        found[f"{kind} found"] = np.unique(value[value >= 0]).size / met
        found[f"{kind} latents"] = float((value >= 0).sum()) / fires
    return found


def moved_without(
    engine: "Engine",
    site: "Site",
    people: People,
    found: "SparseAutoencoder",
    latents: Float[np.ndarray, "text fact latent"],
    *,
    most: int,
    seed: int,
) -> Found:
    """How many answers change without a latent's direction d on the last token of the name, of the facts with the
    latent's value and of the others: x − ((x − x̄) · d) d, x̄ the mean of the text; and when as much is
    taken off in a random direction.

    The latents are the best of up to `most` values of each kind. An answer is the likeliest of the answers.
    """
    from oneway.engine import Logits, Patch

    asked = people.question
    value = engine.run(asked.tokens, [site])[site]
    held = held_out(latents, people)
    rng = np.random.default_rng((seed, 4))
    taken: list[tuple[str, int, Tensor]] = []
    for kind, of in held.items():
        for number in rng.permutation(len(of.best))[:most].tolist():
            direction = found.directions[of.best[number]]
            taken.append((kind, number, ((value - found.centre) @ direction)[:, None] * direction))
    drawn = torch.randn(len(taken), value.shape[1], generator=torch.Generator().manual_seed(seed)).to(value)
    random = drawn / drawn.norm(dim=1, keepdim=True)
    patches = [Patch(site, value - share) for _, _, share in taken]
    patches += [
        Patch(site, value - share.norm(dim=1, keepdim=True) * one)
        for (_, _, share), one in zip(taken, random, strict=True)
    ]
    answers = Logits(answers=asked.answers.expand(len(asked), -1))
    effects = engine.effects(asked.tokens, patches, answers)
    changed = (effects.patched.argmax(-1) != effects.clean.argmax(-1)).cpu().numpy().astype(float)
    shares: dict[str, list[float]] = {}
    for row, (kind, number, _) in enumerate(taken):
        has = people.labels[kind] == number
        for name, part, at in (
            ("own", has, row),
            ("others", ~has, row),
            ("random", has, row + len(taken)),
        ):
            shares.setdefault(f"{kind} moved {name}", []).append(float(changed[at, part].mean()))
    return {name: float(np.mean(values)) for name, values in shares.items()}


def spliced_in(
    engine: "Engine",
    site: "Site",
    asked: "Asked",
    found: "SparseAutoencoder",
    seed: int,
) -> Found:
    """The loss of the right answer, in nats, with the dictionary's reconstruction on every token but what the tokenizer
    puts in front; with a random error of the same size on each; with the mean of the text; and without any of it.

    `recovered`: 1 − (loss with the dictionary − loss) / (loss with the mean − loss).
    """
    from oneway.engine import LogProbability, Patch

    value = engine.run(asked.tokens, [site])[site]
    rebuilt = found.reconstruction(value)
    drawn = torch.randn(value.shape, generator=torch.Generator().manual_seed(seed)).to(value)
    size = (rebuilt - value).norm(dim=-1, keepdim=True)
    random = value + size * drawn / drawn.norm(dim=-1, keepdim=True)
    mean = found.centre.expand_as(value)
    patches = []
    for put in (rebuilt, random, mean):
        kept = put.clone()
        kept[:, : asked.front] = value[:, : asked.front]
        patches.append(Patch(site, kept))
    effects = engine.effects(asked.tokens, patches, LogProbability(answer=asked.right_token))
    clean = -float(effects.clean.mean())
    spliced, random_loss, ablated = (-effects.patched.mean(1)).tolist()
    return {
        "loss": clean,
        "loss spliced": spliced,
        "loss random error": random_loss,
        "right mean": math.exp(-ablated),
        "recovered": 1 - (spliced - clean) / (ablated - clean),
        "extra loss": spliced - random_loss,
    }
