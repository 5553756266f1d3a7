"""The data of a dissection's picture: the circuit, every fact's path, the strongest neurons and heads."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from oneway.anatomy.asked import Asked
from oneway.anatomy.circuit_picture import draw
from oneway.anatomy.extraction import Direct, Effects, Head, direct
from oneway.anatomy.fact_paths import activations, fact_paths, neuron_parts
from oneway.anatomy.units import units
from oneway.engine import Engine
from oneway.report import Picture
from oneway.report.palette import words


def picture(
    engine: Engine,
    asked: Asked,
    heads: Sequence[Head],
    *,
    said: Direct | None = None,
    named: Effects | None = None,
    changes: Float[Tensor, "neuron_of_layers fact"] | None = None,
    seed: int = 0,
) -> Picture:
    """Draw how the facts of a group are recalled. The first of `heads`, which extract the answer, is the one that the
    probes read by.

    Computed here unless given: `said`, see `extraction.direct`; `named`, see `circuit_picture.on_name`; `changes`, see
    `neurons.neuron_changes` for all layers below the first head's (without them, a neuron's effect is its direct part
    in what the head reads: `fact_paths.neuron_parts`).

    Raises ValueError without any head, for a first head in layer 0, before which nothing was looked up, and for changes
    of another number of neurons.
    """
    if not heads:
        raise ValueError("which heads extract the answer? The picture needs at least one")
    first = heads[0]
    if first[0] == 0:
        raise ValueError(f"head {first} is in layer 0: on the name's last token it reads an embedding")
    neurons = first[0] * engine.form.d_mlp
    if changes is not None and changes.shape != (neurons, len(asked)):
        raise ValueError(
            f"changes are of {neurons} neurons (those below layer {first[0]}) and {len(asked)} facts, "
            f"not {list(changes.shape)}"
        )
    said = direct(engine, asked, seed=seed) if said is None else said
    drawn = draw(engine, asked, heads, said=said, named=named, seed=seed)
    acting = activations(engine, asked, first)
    effects = neuron_parts(engine, asked, first, acting) if changes is None else -changes.T.float().cpu()
    unit = "logits, as the head reads it" if changes is None else "nats of the answer's log-probability"
    names = "one token" if len(asked.name) == 1 else f"{len(asked.name)} tokens"
    return Picture(
        title=f"{words(asked.facts[0].relation)}: names of {names}, {len(asked):,} facts",
        circuit=drawn.circuit,
        paths=fact_paths(engine, asked, first, drawn, acting, effects, unit=unit, seed=seed),
        units=units(engine, asked, first, drawn, acting, effects),
    )
