"""The circuit found: the heads and neurons that some fact cannot do without, told from those that do nothing.

Every unit is taken out by itself, at all positions at once, and the model is asked again. Nothing but silence is read
off weights or activations: a unit that writes next to nothing is not tried. `Found.to_grade` is what `oneway.grade`
scores against a circuit that is known.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

from oneway.anatomy.asked import Asked
from oneway.anatomy.extraction import Head
from oneway.engine import Engine, Patch, Readout, Site, Zero
from oneway.engine.readout import Scores
from oneway.facts import FactTable
from oneway.report.progress import progress

Kind = Literal["head", "neuron"]
Unit = tuple[int, int]  # layer and head, or layer and neuron
Told = tuple[str, str, str]  # a fact: subject, relation, object

LEAST_SHARE = 0.26  # of a fact's lead: see `find_circuit`
TOGETHER = 16  # prompts at a time: few, since a unit that is silent in all of them is not tried
SILENT = 1e-7  # of the residual stream's length: float32 loses what is added below that
LEAST_LEAD = 1.0  # nats: shares of smaller leads would be shares of next to nothing
NOTHING = 0.01  # nats: what rounding does to leads


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Lead(Readout):
    """logit(right) − the largest other logit: by how many nats the right token leads all others. Tokens: [batch].

    Unlike a probability it does not saturate: what takes 5 nats of 20 is seen.
    """

    right: Int[Tensor, " batch"]

    def __call__(self, scores: Scores) -> Float[Tensor, "run batch"]:
        logits = scores.logits()
        right = self.right.expand(len(logits), -1)[..., None]
        others = logits.scatter(-1, right, -torch.inf).amax(-1)
        return logits.gather(-1, right)[..., 0] - others


@dataclass(frozen=True, slots=True, eq=False)
class Without:
    """Leads of prompts, in nats, and what they are without each unit; a unit that is not in `leads` changes nothing."""

    clean: Float[Tensor, " fact"]
    leads: dict[Unit, Float[Tensor, " fact"]]

    def shares(self) -> dict[Unit, float]:
        """Of every unit the largest share of a known fact's lead that goes with it (a lead counts as one nat at least).

        1 where a lead is all lost. Facts that the model does not know have no lead to lose.
        """
        known = self.clean > 0
        if not known.any():
            return dict.fromkeys(self.leads, 0.0)
        lead = self.clean[known].clamp_min(LEAST_LEAD)
        return {unit: float(((self.clean - left)[known] / lead).max()) for unit, left in self.leads.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Every unit that was tried, those that matter most first, and which are `found`.

    `heads` and `neurons`: layer, head or neuron, `first` and `later` (the largest share of a fact's lead that goes with
    the unit, over prompts that ask for an answer's first token, and for later ones), found. `movers`: the same for
    heads that are taken out where a later token is said, and there alone. `importance`: of every found neuron and fact
    by how many nats the fact's least lead, over all its prompts, falls without the neuron.
    """

    heads: pl.DataFrame
    neurons: pl.DataFrame
    movers: pl.DataFrame
    importance: pl.DataFrame

    def units(self, kind: Kind) -> set[Unit]:
        """The heads or the neurons that were found."""
        table = self.heads if kind == "head" else self.neurons
        return set(table.filter("found").select("layer", kind).iter_rows())

    def next_output_movers(self) -> list[Head]:
        """The heads that say a later token of an answer where it is said, and have no part in the first one."""
        rows = self.movers.filter("found").select("layer", "head").iter_rows()
        first = set(self.heads.filter(pl.col("first") >= LEAST_SHARE).select("layer", "head").iter_rows())
        return [(layer, head) for layer, head in rows if (layer, head) not in first]

    def by_entity(self) -> dict[str, dict[str, Float[np.ndarray, " neuron"]]]:
        """`importance` as `shared_neurons` takes it: for every relation and entity the effects of all found neurons."""
        order = ["relation", "subject", "layer", "neuron"]
        effects: dict[str, dict[str, Float[np.ndarray, " neuron"]]] = defaultdict(dict)
        for (relation, subject), own in self.importance.sort(order).group_by(
            "relation", "subject", maintain_order=True
        ):
            effects[str(relation)][str(subject)] = own["effect"].to_numpy()
        return dict(effects)

    def to_grade(self, table: FactTable) -> Mapping[str, Any]:
        """What `oneway.grade` takes. `table` are the facts that the model was compiled from: its rows number them.

        Effects of less than `NOTHING` are 0 there, so that rounding does not rank what a manifest says is nothing.
        """
        rows: dict[Told, int] = {}
        for row, fact in enumerate(table):
            rows.setdefault((fact.subject, fact.relation, fact.object), row)
        score = pl.max_horizontal("first", "later").alias("score")
        return {
            "heads": self.heads.select("layer", "head", score).to_dicts(),
            "neurons": self.neurons.select("layer", "neuron", score).to_dicts(),
            "importance": [
                {"layer": layer, "neuron": neuron, "fact": rows[subject, relation, object_], "effect": fall}
                for layer, neuron, subject, relation, object_, effect in self.importance.iter_rows()
                for fall in (effect if abs(effect) >= NOTHING else 0.0,)
            ],
        }


def find_circuit(engine: Engine, first: Sequence[Asked], later: Sequence[Asked] = ()) -> Found:
    """The heads and neurons that facts depend on, each taken out (set to zero) by itself at all positions.

    `first` ask for the first tokens of answers, `later` for further ones (`ask(…, said=1)`). A unit is found where some
    known fact loses `LEAST_SHARE` of its lead without it: the geometric midpoint between what planted units of
    `neuron-per-fact` take at least and what decoys take at most in compiled models of all mechanisms, half of them with
    noise (`benchmarks/oracle.py --calibrate`, seeds 0–9). Zero, not the mean: what is the same for all facts, such as a
    neuron that fires on the question, is part of the circuit too.

    The cost is a run for every prompt and unit that is not silent there; give some of the facts (`Asked.only`) where
    all units know something of all facts.

    Raises ValueError where nothing is asked.
    """
    if not first:
        raise ValueError("nothing is asked: give the groups of ask(…)")
    prompts = (*first, *later)
    with progress("units") as advance:
        found: dict[Kind, list[Without]] = {}
        kinds: tuple[Kind, ...] = ("head", "neuron")
        for number, kind in enumerate(kinds):
            found[kind] = []
            for done, asked in enumerate(prompts):
                found[kind].append(without_units(engine, asked, kind))
                advance(number * len(prompts) + done + 1, 2 * len(prompts))
    heads, neurons = (_ranked(found[kind], len(first), kind) for kind in kinds)
    at_last = [without_units(engine, asked, "head", position=asked.last) for asked in later]
    important = [
        unit for *unit, is_found in neurons.select("layer", "neuron", "found").iter_rows() if is_found
    ]
    return Found(
        heads, neurons, _ranked(at_last, 0, "head"), _importance(important, prompts, found["neuron"])
    )


def without_units(engine: Engine, asked: Asked, kind: Kind, *, position: int | None = None) -> Without:
    """The leads of prompts without each head or neuron: at all positions, or at one."""
    clean, leads = [], defaultdict[Unit, dict[int, Tensor]](dict)
    chunks = torch.arange(len(asked)).split(TOGETHER)
    for number, rows in enumerate(chunks):
        some = asked.only(rows)
        units = [u for u in _loud(engine, some, kind) if position is None or u[2] in (None, position)]
        patches = [
            Patch(_site(kind, layer, unit, at if position is None else position), Zero())
            for layer, unit, at in units
        ]
        found = engine.effects(some.tokens, patches, Lead(right=some.right_token))
        clean.append(found.clean.cpu())
        for (layer, unit, _), lead in zip(units, found.patched.cpu(), strict=True):
            leads[layer, unit][number] = lead
    return Without(
        torch.cat(clean),
        {unit: torch.cat([own.get(i, clean[i]) for i in range(len(chunks))]) for unit, own in leads.items()},
    )


def _site(kind: Kind, layer: int, unit: int, position: int | None) -> Site:
    if kind == "head":
        return Site("z", layer, unit, position)
    return Site("mlp_post", layer, position=position, neuron=unit)


def _loud(engine: Engine, asked: Asked, kind: Kind) -> list[tuple[int, int, int | None]]:
    """Layer, unit and position of all units that write something in one of the prompts; at several positions: None."""
    units = []
    own = [Site("z" if kind == "head" else "mlp_post", layer) for layer in range(engine.layers)]
    after = [Site("resid_post", layer) for layer in range(engine.layers)]
    values = engine.run(asked.tokens, [*own, *after])
    for layer, block in enumerate(engine.weights.blocks):
        value = values[own[layer]]
        if kind == "head":
            written = torch.einsum("...hd,hdm->...hm", value, block.W_O).norm(dim=-1)
        else:
            written = value.abs() * block.W_out.norm(dim=1)
        loud = (written > SILENT * values[after[layer]].norm(dim=-1, keepdim=True)).any(0).cpu()
        for unit in loud.any(0).nonzero()[:, 0].tolist():
            positions = loud[:, unit].nonzero()[:, 0].tolist()
            units.append((layer, unit, positions[0] if len(positions) == 1 else None))
    return units


def _ranked(found: Sequence[Without], first: int, kind: Kind) -> pl.DataFrame:
    """One row a unit: its largest shares over the prompts for first tokens, which come first, and for later ones."""
    shares: dict[Unit, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for number, one in enumerate(found):
        for unit, share in one.shares().items():
            part = int(number >= first)
            shares[unit][part] = max(shares[unit][part], share)
    rows = [(*unit, *both, max(both) >= LEAST_SHARE) for unit, both in shares.items()]
    schema = {
        "layer": pl.Int64,
        kind: pl.Int64,
        "first": pl.Float64,
        "later": pl.Float64,
        "found": pl.Boolean,
    }
    table = pl.DataFrame(rows, schema=schema, orient="row")
    by = pl.max_horizontal("first", "later")
    return table.sort(by, "layer", kind, descending=[True, False, False])


def _importance(
    units: Sequence[Sequence[int]], prompts: Sequence[Asked], found: Sequence[Without]
) -> pl.DataFrame:
    """The fall of every fact's least lead without each unit: one row a unit and fact."""
    least: dict[Told, float] = {}
    without: list[dict[Told, float]] = [{} for _ in units]
    for asked, one in zip(prompts, found, strict=True):
        told = [(fact.subject, fact.relation, fact.object) for fact in asked.facts]
        for fact, lead in zip(told, one.clean.tolist(), strict=True):
            least[fact] = min(lead, least.get(fact, lead))
        for unit, own in zip(units, without, strict=True):
            left = one.leads.get((unit[0], unit[1]), one.clean)
            for fact, lead in zip(told, left.tolist(), strict=True):
                own[fact] = min(lead, own.get(fact, lead))
    rows = [
        (*unit, *fact, least[fact] - lead)
        for unit, own in zip(units, without, strict=True)
        for fact, lead in own.items()
    ]
    names = {"layer": pl.Int64, "neuron": pl.Int64, "subject": str, "relation": str, "object": str}
    return pl.DataFrame(rows, schema={**names, "effect": pl.Float64}, orient="row")
