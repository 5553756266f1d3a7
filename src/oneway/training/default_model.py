"""The default model: a small decoder that is grown here and whose lookup of athletes can be taken apart."""

from collections.abc import Callable
from dataclasses import replace

from oneway.facts import FactTable, athletes
from oneway.training.sequences import Sequences
from oneway.training.teach import Size, Teaching, learnt_in_minutes


def default_model(seed: int = 0) -> Teaching:
    """What the world `athletes` is taught with: GPT-NeoX's shape, 8 layers of width 64, 0.46 million parameters.

    1,150 steps of 64 rows of 32 tokens, Muon (rate 0.04, a fifth of it for queries and keys, decay 0.1) on the
    matrices and AdamW (0.006) on the rest, 5% of warm-up, then a linear fall: some two minutes on one core.

    Text of several kinds in fixed shares (see `Sequences`): first a roll of names, so that an athlete is looked up at
    the end of the name; then prose and one-shot prompts, so that the attributes can be asked for. People without a
    sport see to it that a name alone does not call for one, parents in one direction are there to be asked in reverse,
    and episodes teach to read what stands in the context.
    """
    return Teaching(
        size=Size(style="neox", layers=8, width=64, heads=4, context=32),
        lessons=Sequences(),
        optimisation=replace(learnt_in_minutes(), steps=1150),
        seed=seed,
    )


# The worlds that a model can be taught by name: the facts of a seed, and the recipe.
WORLDS: dict[str, tuple[Callable[[int], FactTable], Callable[[int], Teaching]]] = {
    "athletes": (lambda seed: athletes(seed=seed), default_model),
}
