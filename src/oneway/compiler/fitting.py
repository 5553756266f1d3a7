"""Neurons that know many facts each: a layer fitted until every answer leads.

h = GELU(x W_in + b), y = h W_out. Each channel and place in the answer has a slot of y; a slot is read through its
transport by the codes of words: word a has the value y_slot · T · code(a), END has ½. The fit lowers the cross-entropy
of the right word, every value times β and the right one less by a margin, with Adam over all of W_in, b and W_out; the
ridge solution for W_out is where it starts. Later a quarter of every batch are names with the least leads.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, gelu, one_hot

ENOUGH, GOOD = (
    0.05,
    0.1,
)  # the least lead of a right answer, END having ½: less is not taken, more is not sought
NEVER = -1  # a place that is not asked for
_STEPS, _BATCH, _RATE = 1500, 1024, 0.02
_EVERY, _MINING = (
    50,
    300,
)  # steps from one look at all names to the next; steps before the hardest are preferred
_HOPELESS = 400  # the step at which a layer that has not half of the names is given up
_BETA, _MARGIN = 15.0, 0.2
_RIDGE = 0.1  # over the mean square of the activations


@dataclass(frozen=True, slots=True)
class Slot:
    """The columns of y that hold one token of one channel's answers, and how they become the output."""

    columns: slice
    transport: Float[Tensor, "slot output"] | None  # None: the same

    def read(self, y: Float[Tensor, "row column"]) -> Float[Tensor, "row output"]:
        found = y[:, self.columns]
        return found if self.transport is None else found @ self.transport


@dataclass(frozen=True, slots=True)
class Examples:
    """What is to be known. `target` numbers the words; END is one more than the last, −1 is never asked.

    `slots` are in the order of target's last axis; None where nothing is ever said. `mask(neurons)` says which neuron
    may write which column; y has `inputs @ base` besides. `strangers(count)` draws inputs that are to be answered by
    END.
    """

    inputs: Float[Tensor, "name input"]
    target: Int[Tensor, "name slot"]
    slots: tuple[Slot | None, ...]
    first: tuple[int, ...]  # of every channel the slot of its answers' first token
    codes: Float[Tensor, "word output"]
    columns: int
    base: Float[Tensor, "input column"] | None
    strangers: Callable[[int], Float[Tensor, "_ input"]]
    mask: Callable[[int], Bool[Tensor, "neuron column"]] | None = None


@dataclass(frozen=True, slots=True)
class Fitted:
    """A layer, and the least lead of a right answer with it."""

    w_in: Float[Tensor, "input neuron"]
    bias: Float[Tensor, " neuron"]
    w_out: Float[Tensor, "neuron column"]
    lead: float
    approximate: str  # which GELU

    @property
    def neurons(self) -> int:
        return len(self.bias)

    def hidden(self, inputs: Float[Tensor, "name input"]) -> Float[Tensor, "name neuron"]:
        return gelu(inputs @ self.w_in + self.bias, approximate=self.approximate)


def fit(examples: Examples, neurons: int, approximate: str, seed: int) -> Fitted:
    """Fit a layer; it ends early once every answer leads by `GOOD`, or where there is no hope."""
    generator = torch.Generator().manual_seed(seed)
    names, width = examples.inputs.shape
    scale = 2.0 / float(examples.inputs.square().sum(1).mean().sqrt())
    w_in = scale * torch.randn(width, neurons, generator=generator)
    bias = torch.full((neurons,), -0.5)
    mask = None if examples.mask is None else examples.mask(neurons).float()
    start = Fitted(w_in, bias, torch.zeros(neurons, examples.columns), 0.0, approximate)
    w_out = ridge(examples, start.hidden(examples.inputs))
    weights = [tensor.requires_grad_() for tensor in (w_in, bias, w_out)]
    optimiser = torch.optim.Adam(weights, lr=_RATE, betas=(0.9, 0.98))
    hardest = torch.arange(names)
    for step in range(_STEPS):
        if step % _EVERY == 0 and step:
            found, least = _finished(weights, mask, examples, approximate)
            if found.lead >= GOOD or (step >= _HOPELESS and (least <= 0).float().mean() > 0.5):
                return found
            hardest = least.argsort()[: max(names // 8, 1)]
        for group in optimiser.param_groups:
            group["lr"] = _RATE * min(1.0, (step + 1) / 20) * (1 - step / _STEPS)
        size = min(names, _BATCH)
        rows = torch.randint(names, (size,), generator=generator)
        if step >= _MINING:
            rows[: size // 4] = hardest[torch.randint(len(hardest), (size // 4,), generator=generator)]
        loss = _loss(weights, mask, examples, rows, approximate)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return _finished(weights, mask, examples, approximate)[0]


def _finished(
    weights: list[Tensor], mask: Tensor | None, examples: Examples, approximate: str
) -> tuple[Fitted, Float[Tensor, " name"]]:
    """The layer as it is, and the least lead of every name."""
    w_in, bias, w_out = (tensor.detach().clone() for tensor in weights)
    found = Fitted(w_in, bias, w_out if mask is None else w_out * mask, 0.0, approximate)
    least = leads(examples, outputs(examples, found)).amin(1)
    return replace(found, lead=float(least.min())), least


def ridge(examples: Examples, hidden: Tensor) -> Tensor:
    """W_out that comes nearest to writing every answer's own code."""
    wanted = torch.zeros(len(hidden), examples.columns)
    for number, slot in enumerate(examples.slots):
        said = examples.target[:, number]
        rows = torch.nonzero((said >= 0) & (said < len(examples.codes))).squeeze(1)
        if slot is not None and len(rows):
            codes = examples.codes[said[rows]]
            wanted[rows, slot.columns] = (
                codes if slot.transport is None else codes @ slot.transport.pinverse()
            )
    gram = hidden.T @ hidden
    weight = _RIDGE * hidden.square().mean() * torch.eye(len(gram))
    solved: Tensor = torch.linalg.solve(gram + weight, hidden.T @ wanted)
    return solved


def _loss(
    weights: list[Tensor], mask: Tensor | None, examples: Examples, rows: Tensor, approximate: str
) -> Tensor:
    w_in, bias, w_out = weights
    w_out = w_out if mask is None else w_out * mask
    strange = examples.strangers(max(len(rows) // 32, 1))
    inputs = torch.cat([examples.inputs[rows], strange])
    y = gelu(inputs @ w_in + bias, approximate=approximate) @ w_out
    if examples.base is not None:
        y = y + inputs @ examples.base
    ended = torch.full((len(strange), len(examples.slots)), NEVER)
    ended[:, list(examples.first)] = len(examples.codes)
    values, target = _values(examples, y, torch.cat([examples.target[rows], ended]))
    right = one_hot(target, values.shape[1])
    return cross_entropy(_BETA * (values - _MARGIN * right), target)


def _values(examples: Examples, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The values of every word, END and all other tokens at every place that is asked, and the numbers of the right."""
    width = examples.codes.shape[1]
    read = [torch.zeros(len(y), width) if slot is None else slot.read(y) for slot in examples.slots]
    asked = target >= 0
    values = torch.stack(read, 1)[asked] @ examples.codes.T
    others = torch.tensor([0.5, 0.0]).expand(len(values), 2)
    return torch.cat([values, others], 1), target[asked]


def right_values(examples: Examples, y: Float[Tensor, "name column"]) -> Float[Tensor, "name slot"]:
    """The value of the right word at every place that is asked; 0 elsewhere."""
    values, target = _values(examples, y, examples.target)
    found = torch.zeros(examples.target.shape)
    found[examples.target >= 0] = values.gather(1, target[:, None]).squeeze(1)
    return found


def outputs(examples: Examples, fitted: Fitted) -> Float[Tensor, "name column"]:
    """What the slots hold for every name."""
    y = fitted.hidden(examples.inputs) @ fitted.w_out
    return y if examples.base is None else y + examples.inputs @ examples.base


def leads(examples: Examples, y: Float[Tensor, "name column"]) -> Float[Tensor, "name slot"]:
    """By how much the right word leads any other at every place that is asked; ∞ elsewhere."""
    found = torch.full(examples.target.shape, torch.inf)
    for rows in torch.arange(len(y)).split(512):
        values, target = _values(examples, y[rows], examples.target[rows])
        right = values.gather(1, target[:, None]).squeeze(1)
        values.scatter_(1, target[:, None], -torch.inf)
        part = found[rows]
        part[examples.target[rows] >= 0] = right - values.amax(1)
        found[rows] = part
    return found
