"""A compiled model as the oracle of sparse autoencoders: every direction is known, what was found can be counted.

A table of athletes is compiled with a neuron for every fact. On the hidden layer of the MLP that knows most facts the
planted directions are single neurons; on the residual stream behind it they are the codes of words in their slots and
of answers, as `circuit.json` names them. *Planted* are those that a text turns on at all. A latent *finds* a direction
where the cosine of the two is at least 0.9; what only LayerNorm needs (its constant, and the balance of the mean) is
left out of it, as in `oneway.grade`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from oneway.facts import FactTable, athletes
from oneway.studies.default_model import RELATION, strangers
from oneway.studies.feature_config import PLACES, Place, Planted
from oneway.studies.pieces import Row

if TYPE_CHECKING:
    from oneway.anatomy.asked import Asked
    from oneway.anatomy.sparse_autoencoder import SparseAutoencoder
    from oneway.compiler.manifest import Manifest
    from oneway.engine import Engine

FOUND, ON = 0.9, 0.5  # cosine; the amplitude of a code, which is 1 where it is on
FORMS = 3  # templates of the relation
_HIDDEN = ("constant", "balance")


def compiled_rows(config: Planted, seed: int, folder: Path) -> list[Row]:
    """Precision and recall of trained and untrained dictionaries on both places; a row for each."""
    from oneway.anatomy.sparse_autoencoder import Sparsity, train_sparse_autoencoder
    from oneway.compiler import compile_table, read_manifest
    from oneway.engine import Engine, open_model

    table = people(config, seed)
    compile_table(table, folder, architecture="neox")
    engine, manifest = open_model(folder, device="cpu"), read_manifest(folder)
    assert isinstance(engine, Engine)
    rows: list[Row] = []
    for place in PLACES:
        values, directions, seen = planted(engine, manifest, table, place, seed)
        active = max(1, round(on(values, directions).double().sum(1).mean().item()))
        for ratio in config.latents_per_direction:
            for name, steps in (("trained", config.steps), ("untrained", 0)):
                latents = max(active, round(ratio * len(directions)))
                asked = Sparsity(
                    latents=latents,
                    active=active,
                    steps=steps,
                    batch=config.batch,
                    learning_rate=config.learning_rate,
                )
                found = recovered(
                    train_sparse_autoencoder(values, asked, seed=seed), values, directions, seen
                )
                rows += [
                    {
                        "seed": seed,
                        "part": "planted",
                        "site": place,
                        "latents": ratio,
                        "dictionary": name,
                        "quantity": quantity,
                        "value": value,
                    }
                    for quantity, value in (found | {"directions": float(len(directions))}).items()
                ]
    return rows


def people(config: Planted, seed: int) -> FactTable:
    """Athletes and their sports alone."""
    names = {"first_names": config.first_names, "surnames": config.surnames}
    table = athletes(config.people, seed=seed, others=0, parents=0, **names)
    return table.with_facts(table.select(relation=RELATION))


def planted(
    engine: "Engine", manifest: "Manifest", table: FactTable, place: Place, seed: int
) -> tuple[Float[Tensor, "row d_in"], Float[Tensor, "direction d_in"], Bool[Tensor, " d_in"]]:
    """What stands at a place on the last token of names, the planted directions that are on there at all, and the
    dimensions that count in a cosine.

    The texts: every athlete, and as many people whom the table does not know, in every form of the question.
    """
    from oneway.engine import Site
    from oneway.engine.site import Kind

    facts = [neuron["layer"] for neuron in manifest.neurons if neuron["role"] == "fact"]
    layer = max(set(facts), key=facts.count) if place == "mlp" else max(facts)
    kind: Kind = "mlp_post" if place == "mlp" else "resid_post"
    values = torch.cat(
        [
            engine.run(asked.tokens, [at])[at]
            for asked in _texts(engine, table, seed)
            for at in [Site(kind, layer, position=asked.final)]
        ]
    )
    if place == "mlp":
        directions = torch.eye(values.shape[1])[
            [neuron["neuron"] for neuron in manifest.neurons if neuron["layer"] == layer]
        ]
        seen = torch.ones(values.shape[1], dtype=torch.bool)
    else:
        directions = torch.tensor(
            np.array([manifest.direction(n) for n in manifest.direction_names()])
        ).float()
        seen = torch.ones(values.shape[1], dtype=torch.bool)
        for name in _HIDDEN:
            span = manifest.content["subspaces"][name]
            seen[span["start"] : span["start"] + span["width"]] = False
    return values, directions[on(values, directions).any(0)], seen


def on(
    values: Float[Tensor, "row d_in"], directions: Float[Tensor, "direction d_in"]
) -> Bool[Tensor, "row direction"]:
    """Which directions are on."""
    return values @ directions.T >= ON


def _texts(engine: "Engine", table: FactTable, seed: int) -> "Iterator[Asked]":
    from oneway.anatomy.asked import ask

    assert engine.tokenizer is not None
    for people_ in (table, strangers(table, seed)):
        for form in range(FORMS):
            yield from ask(engine.tokenizer, people_, RELATION, template=form).groups


def recovered(
    found: "SparseAutoencoder",
    values: Float[Tensor, "row d_in"],
    directions: Float[Tensor, "direction d_in"],
    seen: Bool[Tensor, " d_in"],
) -> dict[str, float]:
    """Precision, the share of the latents that fire at all which find a direction; recall, the share of these found."""
    alive = (found.latents(values) > 0).any(0)
    own = found.directions[alive] * seen
    own = own / own.norm(dim=1, keepdim=True).clamp_min(1e-12)
    hit = own @ directions.T >= FOUND
    return {
        "precision": float(hit.any(1).double().mean()) if len(own) else 0.0,
        "recall": float(hit.any(0).double().mean()),
        "variance": found.variance_explained(values),
        "alive": float(alive.double().mean()),
    }
