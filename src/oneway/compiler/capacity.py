"""The sizes that a user may choose."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a compiled model may use.

    `positions`: tokens of the longest text. `width`: d_model, by default as small as it can be. `neurons`: neurons of
    every block, by default those that make the model smallest. `neurons_per_fact` (`neuron-per-fact`): each carries
    an equal share of the answer. `margin`: by how many nats the right token leads in the logits. `seed` draws what is
    random. `noise`: the standard deviation of what is added to every matrix, over the matrix's own root mean square;
    recall must stay at 0.99. `decoys`: for each planted head and neuron, so many that correlate with the facts and
    that nothing reads.
    """

    positions: int = 512
    width: int | None = None
    neurons: int | None = None
    neurons_per_fact: int = 1
    margin: float = 20.0
    seed: int = 0
    noise: float = 0.0
    decoys: int = 0

    def __post_init__(self) -> None:
        for name in ("positions", "neurons_per_fact"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.margin <= 0:
            raise ValueError(f"margin must be above 0, not {self.margin}")
        for name in ("noise", "decoys"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} cannot be negative: {getattr(self, name)}")
