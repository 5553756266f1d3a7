"""The sizes that a user may choose."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a compiled model may use.

    `positions`: tokens of the longest text. `width`: d_model, by default as small as it can be. `neurons`: neurons of
    every block, by default those that make the model smallest. `neurons_per_fact`: by default 1 for `neuron-per-fact`,
    where each carries an equal share of the answer; ¼ for `single-step` and ½ for the mechanisms that hash, all neurons
    of the model counted, and more where those cannot know the table. `margin`: by how many nats the right token leads
    in the logits. `seed` draws what is random. `noise`: the standard deviation of what is added to every matrix, over
    the matrix's own root mean square; recall must stay at 0.99. `decoys`: for each planted head and neuron, so many
    that correlate with the facts and that nothing reads.
    """

    positions: int = 512
    width: int | None = None
    neurons: int | None = None
    neurons_per_fact: int | float | None = None
    margin: float = 20.0
    seed: int = 0
    noise: float = 0.0
    decoys: int = 0

    def __post_init__(self) -> None:
        if self.positions < 1:
            raise ValueError(f"positions must be at least 1, not {self.positions}")
        if self.neurons_per_fact is not None and not self.neurons_per_fact > 0:
            raise ValueError(f"neurons_per_fact must be above 0, not {self.neurons_per_fact}")
        if self.margin <= 0:
            raise ValueError(f"margin must be above 0, not {self.margin}")
        for name in ("noise", "decoys"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} cannot be negative: {getattr(self, name)}")
