"""Heads and the neurons that find questions, in as few blocks as there can be."""

from collections.abc import Sequence
from dataclasses import dataclass

from oneway.compiler.circuit import Bank, Circuit, Head, place
from oneway.compiler.front import Front


@dataclass(frozen=True, slots=True)
class Arrangement:
    """`knowing` is the first block whose MLP reads what was spelled; `asking` are the neurons that find where a
    question ends, and their blocks."""

    knowing: int
    asking: tuple[tuple[int, Bank], ...]


def arrange(
    circuit: Circuit,
    front: Front,
    spelling: Sequence[Head],
    reading: Sequence[Head],
    moving: Sequence[Head],
    stages: int,
    architecture: str,
) -> Arrangement:
    """Puts heads that spell, that read what the `stages` MLPs from `knowing` on know, and that move later tokens along.

    The MLP of a GPT-2 block reads what the block's own heads write, that of a NeoX block only what earlier ones wrote.
    """
    residual, layers, heads = circuit.residual, circuit.layers, circuit.heads

    def mlp(after: int) -> int:
        """The first block whose MLP reads what the heads of the block before `after` write."""
        return max(after - 1, 0) if architecture == "gpt2" else after

    knowing = mlp(place(spelling, layers, 0, heads))
    if front.phrases.before:
        onto, on = front.before_heads(residual)
        last = mlp(place(on, layers, place(onto, layers, knowing + 1, heads), heads))
        asking = [(knowing, front.phrase_neurons(residual)), (last, front.question_neurons(residual))]
    else:
        asking = [(knowing, front.asking_neurons(residual))]
    first = max(knowing + stages, asking[-1][0] + 1)
    place(moving, layers, place(reading, layers, first, heads), heads)
    return Arrangement(knowing, tuple(asking))
