"""N1: the parts of the circuit of a one-way lookup, each with an ablation."""

import numpy as np
import polars as pl
import torch

from oneway.anatomy.asked import FEWEST_FACTS, Asked, known
from oneway.anatomy.circuit import answer_on_the_way, carrying_heads, parts_of_names, without_subspace
from oneway.anatomy.extraction import direct, log_odds, looking
from oneway.anatomy.neurons import neuron_changes
from oneway.anatomy.specimen import CannotTell, Specimen
from oneway.anatomy.steps.step import Finding, Step
from oneway.engine import Logits, Patch, Resample, Site
from oneway.engine.patch import MEAN
from oneway.evidence.estimate import Estimate, over_facts

AND_NEURONS = 0.05  # of all neurons of the lookup: those that make most of the AND


def previous(specimen: Specimen) -> Finding:
    """Which heads bring a name's earlier parts to its last token; and what is answered when the subspace in which they
    lie there is another name's."""
    engine, asked = specimen.engine, specimen.asked
    if len(asked.name) < 2:
        raise CannotTell("names of one token have no earlier part that a head could carry")
    heads = carrying_heads(engine, asked, seed=specimen.seed)
    best = heads.row(0, named=True)
    site = Site("pattern", best["layer"], position=asked.final)
    looks = engine.run(asked.tokens, [site])[site][:, best["head"], asked.name.start : asked.final].sum(-1)
    source = asked.others(seed=specimen.seed)
    resampled = Patch(Site("z", best["layer"], best["head"], asked.final), Resample(source))
    found = engine.effects(asked.tokens, [resampled], log_odds(asked, source))
    measured = {
        "N1.carrier_attention": over_facts(looks.double().cpu().numpy(), "attention"),
        "N1.carrier_effect": over_facts((-found.change[0]).double().cpu().numpy(), "logits"),
        "N1.log_odds": over_facts(found.clean.double().cpu().numpy(), "logits"),
    }
    tables = {"carrying_heads": heads}
    notes: tuple[str, ...] = ()
    try:
        names, layer = specimen.names, best["layer"]
        parts = parts_of_names(engine, names, layer)
        swapped = without_subspace(engine, asked, layer, parts.basis, seed=specimen.seed)
        measured["N1.keeps_subspace"] = swapped["subspace"].keeps
        measured["N1.keeps_random"] = swapped["random"].keeps
        tables["parts_of_names"] = parts.table
    except CannotTell as reason:
        notes = (f"N1.previous-token: {reason}",)
    return Finding(tables, measured, notes)


def conjunction(specimen: Specimen) -> Finding:
    """The neurons that make most of the AND of a name's parts, all ablated; beside as many others of their layers."""
    contributed = specimen.excess.by_neuron[list(specimen.lookup_layers)]  # [layer neuron]
    count = max(1, round(AND_NEURONS * contributed.numel()))
    chosen = contributed.flatten().argsort(descending=True)[:count].tolist()
    rng, width = np.random.default_rng(specimen.seed), contributed.shape[1]
    taken = set(chosen)
    others = []
    for unit in chosen:  # as many in each layer
        free = [n for n in range(unit // width * width, (unit // width + 1) * width) if n not in taken]
        if not free:
            raise CannotTell("nearly all neurons of a layer are among those that make most of the AND")
        others.append(int(rng.choice(free)))
        taken.add(others[-1])
    runs = [tuple(_neuron(specimen, unit) for unit in units) for units in (chosen, others)]
    answers = Logits(answers=specimen.asked.answers.expand(len(specimen.asked), -1))
    said = specimen.engine.effects(specimen.asked.tokens, runs, answers).patched.argmax(-1).cpu()
    right = (said == specimen.asked.right).double().numpy()
    first = specimen.lookup_layers[0]
    rows = [
        {"layer": first + unit // width, "neuron": unit % width, "excess": float(contributed.flatten()[unit])}
        for unit in chosen
    ]
    return Finding(
        {"conjunction_neurons": pl.DataFrame(rows)},
        {
            "N1.without_and_neurons": over_facts(right[0], "probability"),
            "N1.without_other_neurons": over_facts(right[1], "probability"),
        },
    )


def _neuron(specimen: Specimen, unit: int) -> Patch:
    layer, neuron = divmod(unit, specimen.engine.form.d_mlp)
    layer += specimen.lookup_layers[0]
    return Patch(Site("mlp_post", layer, position=specimen.asked.final, neuron=neuron), MEAN)


def outputs(specimen: Specimen) -> Finding:
    """Answers of several tokens: is the next output on the name's last token too, do the same neurons write it, and
    which late heads move it along once the first token is out?"""
    relation, answers = _several_tokens(specimen)
    on_the_way = [
        answer_on_the_way(specimen.engine, asked, seed=specimen.seed).with_columns(said=pl.lit(said))
        for said, asked in enumerate(answers)
    ]
    tables = {"on_the_way": pl.concat(on_the_way)}
    measured, half = {}, specimen.engine.layers // 2
    for name, said in (("N1.next_output", 1), ("N1.next_next_output", 2)):
        if said < len(answers):
            measured[name] = _follows(specimen, answers[said], half)
    next_output = answers[1]
    found = direct(specimen.engine, next_output, seed=specimen.seed)
    movers = found.direct.top_heads(specimen.handful)
    source = next_output.others(seed=specimen.seed)
    silenced = tuple(
        Patch(Site("z", layer, head, next_output.last), Resample(source)) for layer, head in movers
    )
    without = specimen.engine.effects(next_output.tokens, [silenced], log_odds(next_output, source))
    look = looking(specimen.engine, next_output, movers)
    from_name = look.pattern[0][:, list(next_output.name)].sum(1)
    measured |= {
        "N1.movers_cost": over_facts(
            ((without.clean - without.patched[0]) / without.clean.abs().mean()).double().cpu().numpy(),
            "share",
        ),
        "N1.movers_look": over_facts(from_name.double().numpy(), "attention"),
        "N1.same_neurons": _same_neurons(specimen, answers),
    }
    tables |= {"movers": found.direct.table(), "movers_attention": look.table()}
    note = f"N1.next_output: answers of {relation}, of which {len(answers)} tokens were asked"
    return Finding(tables, measured, (note,))


def _several_tokens(specimen: Specimen) -> tuple[str, list[Asked]]:
    """The relation whose answers have several tokens, this one first, and questions for each of up to three."""
    order = [specimen.relation, *(name for name in specimen.table.relations if name != specimen.relation)]
    for relation in order:
        asked: list[Asked] = []
        for said in range(3):
            try:
                group = specimen.asked_by(template=0, relation=relation, said=said)
            except CannotTell:
                break
            group = group.only(known(specimen.engine, group)).with_others if len(group) else group
            if len(group) < FEWEST_FACTS:
                break
            asked.append(group)
        if len(asked) > 1:
            return relation, asked
    raise CannotTell("no relation that the model knows has answers whose second token tells facts apart")


def _follows(specimen: Specimen, asked: Asked, layer: int) -> Estimate:
    source = asked.others(seed=specimen.seed)
    patch = Patch(Site("resid_pre", layer, position=asked.final), Resample(source))
    answers = Logits(answers=asked.answers.expand(len(asked), -1))
    said = specimen.engine.effects(asked.tokens, [patch], answers).patched[0].argmax(-1).cpu()
    return over_facts((said == asked.right[source]).double().numpy(), "probability")


def _same_neurons(specimen: Specimen, answers: list[Asked]) -> Estimate:
    """Correlation over neurons of what a neuron does for an answer's first and for its second token, a mean over
    entities."""
    places = [{fact.subject: i for i, fact in enumerate(asked.facts)} for asked in answers[:2]]
    both = [name for name in places[0] if name in places[1]][: specimen.sizes.entities]
    one, other = (
        neuron_changes(specimen.engine, asked, specimen.lookup_layers, of=[at[name] for name in both])
        for asked, at in zip(answers[:2], places, strict=True)
    )
    pairs = torch.stack((one, other)).double()  # [said neuron fact]
    centred = pairs - pairs.mean(1, keepdim=True)
    correlation = (centred[0] * centred[1]).sum(0) / centred.norm(dim=1).prod(0)
    return over_facts(correlation[correlation.isfinite()].cpu().numpy(), "correlation")


STEPS = (
    Step(
        id="N1.previous-token",
        title="What carries the name's first part",
        measures=(
            *("N1.carrier_attention", "N1.carrier_effect", "N1.log_odds"),
            *("N1.keeps_subspace", "N1.keeps_random"),
        ),
        ask=previous,
    ),
    Step(
        id="N1.conjunction",
        title="Neurons that fire on both parts",
        measures=("N1.without_and_neurons", "N1.without_other_neurons"),
        ask=conjunction,
    ),
    Step(
        id="N1.outputs",
        title="Output, next output, next-next output",
        measures=(
            *("N1.next_output", "N1.next_next_output", "N1.movers_cost"),
            *("N1.movers_look", "N1.same_neurons"),
        ),
        ask=outputs,
    ),
)
