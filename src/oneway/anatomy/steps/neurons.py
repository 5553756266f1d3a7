"""F10–F12: single neurons: shared between facts of an entity, making the AND of a name's parts, telling an answer."""

from collections.abc import Mapping

import numpy as np
import polars as pl
from jaxtyping import Float

from oneway.anatomy.asked import Asked, known
from oneway.anatomy.neurons import neuron_changes, shared_neurons
from oneway.anatomy.specimen import KNOWN, CannotTell, Specimen
from oneway.anatomy.steps.step import Finding, Step
from oneway.evidence.estimate import over_facts

Changes = Mapping[str, Float[np.ndarray, " neuron"]]  # of every entity


def shared(specimen: Specimen) -> Finding:
    """F10. Are the neurons that matter for one fact of an entity those that matter for another?

    The control is the same fact in other words."""
    asked = {specimen.relation: specimen.asked} | _other_relations(specimen)
    if len(asked) < 2:
        raise CannotTell("the model knows no second relation of these entities")
    chosen = _entities(specimen, list(asked.values()))
    changes = {name: _changes(specimen, group, chosen) for name, group in asked.items()}
    again = {}
    for name in asked:
        try:
            reworded = specimen.asked_by(template=1, relation=name)
        except CannotTell:
            continue
        again[name] = _changes(specimen, reworded, chosen)
    found = shared_neurons(changes, again)
    kinds = {"other_fact": "other fact", "same_fact": "same fact", "other_entity": "other entity"}
    present = set(found.table["kind"])
    measured = {f"F10.{key}": found.mean(kind) for key, kind in kinds.items() if kind in present}
    notes = () if again else ("F10.same_fact: no relation has a second forward template",)
    return Finding(
        {"shared_neurons": found.table, "strongest": _strongest(specimen, changes)}, measured, notes
    )


def _other_relations(specimen: Specimen) -> dict[str, Asked]:
    """The other relations of these entities that the model knows, at least twenty facts of each."""
    found = {}
    for relation in specimen.table.relations:
        if relation == specimen.relation:
            continue
        try:
            group = specimen.asked_by(template=0, relation=relation)
        except CannotTell:
            continue
        if len(group) < 20:
            continue
        group = group.only(known(specimen.engine, group, KNOWN))
        if len(group) >= 20:
            found[relation] = group
    return found


def _entities(specimen: Specimen, groups: list[Asked]) -> set[str]:
    """Entities drawn at random among those with the most facts that are known."""
    counts: dict[str, int] = {}
    for group in groups:
        for fact in group.facts:
            counts[fact.subject] = counts.get(fact.subject, 0) + 1
    rng = np.random.default_rng(specimen.seed)
    names = [list(counts)[i] for i in rng.permutation(len(counts))]
    names.sort(key=lambda name: -counts[name])
    return set(names[: specimen.sizes.entities])


def _changes(specimen: Specimen, asked: Asked, chosen: set[str]) -> Changes:
    rows = [i for i, fact in enumerate(asked.facts) if fact.subject in chosen]
    if not rows:
        return {}
    found = neuron_changes(specimen.engine, asked, specimen.lookup_layers, of=rows).double().cpu().numpy()
    return {asked.facts[row].subject: found[:, i] for i, row in enumerate(rows)}


def _strongest(specimen: Specimen, changes: Mapping[str, Changes]) -> pl.DataFrame:
    """The neurons whose ablation costs each fact most: one row a fact and neuron."""
    width, first = specimen.engine.form.d_mlp, specimen.lookup_layers[0]
    rows = [
        {"relation": relation, "entity": entity, "layer": first + int(n) // width, "neuron": int(n) % width}
        | {"change": float(found[n])}
        for relation, of in changes.items()
        for entity, found in of.items()
        for n in np.argsort(found)[:5]
    ]
    return pl.DataFrame(rows)


def conjunction(specimen: Specimen) -> Finding:
    """F11. How much of the AND of a name's parts is made by the neurons that write it."""
    found = specimen.excess
    positive = (found.at_probe > 0).double().numpy()
    columns = {"at_probe": found.at_probe, "made_by_neurons": found.made_by_neurons, "ratio": found.ratio}
    return Finding(
        {"excess": pl.DataFrame({name: values.numpy() for name, values in columns.items()})},
        {"F11.ratio": found.median(seed=specimen.seed), "F11.positive": over_facts(positive, "share")},
    )


def telling(specimen: Specimen) -> Finding:
    """F12. The neuron that tells an answer best, chosen on one half of the facts; what it costs to ablate it, and
    whether it tells the answer without the directions that it could merely boost."""
    best = specimen.attribute_neuron
    rows = [
        {
            "answer": one.label,
            "layer": one.layer,
            "neuron": one.neuron,
            "auc": one.auc.mean,
            "auc_low": one.auc.low,
            "auc_high": one.auc.high,
            "auc_after": one.auc_after.mean,
            "loss_clean": one.loss_clean.mean,
            "loss_mean_ablated": one.loss_mean_ablated.mean,
            "loss_zero_ablated": one.loss_zero_ablated.mean,
            "cos_output": one.cos_output,
            "cos_head": one.cos_head,
            "cos_against_others": one.cos_against_others,
        }
        for one in specimen.attribute_neurons
    ]
    return Finding(
        {"attribute_neurons": pl.DataFrame(rows)},
        {"F12.auc": best.auc, "F12.auc_after": best.auc_after, "F12.loss_added": best.loss_added},
    )


STEPS = (
    Step(
        id="F10",
        title="Neurons shared between facts of an entity",
        measures=("F10.other_fact", "F10.same_fact", "F10.other_entity"),
        ask=shared,
    ),
    Step(id="F11", title="Who makes the AND", measures=("F11.ratio", "F11.positive"), ask=conjunction),
    Step(
        id="F12",
        title="Neurons that tell an answer",
        measures=("F12.auc", "F12.auc_after", "F12.loss_added"),
        ask=telling,
    ),
)
