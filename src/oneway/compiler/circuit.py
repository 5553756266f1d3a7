"""A circuit as data: heads that carry a subspace from one position to another, banks of neurons that fire on a pattern.

Nothing here knows LayerNorm, softmax or GELU: `weights` writes a circuit into an architecture that has them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from jaxtyping import Float

from oneway.compiler.codes import Alphabet
from oneway.compiler.residual import Residual, Span


class Role(StrEnum):
    """What a head or a neuron is for."""

    PREVIOUS_NAME = "previous-name"  # carries the name code of an earlier token into an offset slot
    PREVIOUS_TEXT = "previous-text"  # the same for the codes of template words
    BEFORE_NAME = "before-name"  # carries "the text before the name stood here" onto the name
    BEFORE_QUESTION = "before-question"  # carries it on from the final name token to the end of the question
    RELATION = "relation"  # reads one answer token of one relation off the final name token
    PATTERN = (
        "pattern"  # attends to the first word of names with one answer, and to no others: the lookup itself
    )
    ASKED = "asked"  # carries "a question ended here" along, so that the latest question is answered
    NEXT_OUTPUT = "next-output"  # moves a later answer token to the position where it is said
    PHRASE = "phrase"  # fires where the text of a template ends
    QUESTION = "question"  # fires where a whole template ends; opens the heads of its relation
    LONGER_NAME = "longer-name"  # fires on a known name, silences shorter names that it ends with
    FACT = "fact"  # fires on a name, writes one fact's answer
    LOOKUP = "lookup"  # one of many that together know many facts
    HASH = "hash"  # breaks the linear structure of names
    OWN_TOKEN = "own-token"  # takes a token's own pair code away, which would make the model say it again
    DECOY = "decoy"  # correlates with facts, is read by nothing


@dataclass(frozen=True, slots=True)
class Pairs:
    """Scores of pairs of words in nats: query(word that reads) · key(word that is read), both from `span`.

    A pair opens the head where it scores 2·LEAD or more, and leaves it closed at 0 or below; no score is above `reach`
    in size.
    """

    span: Span
    query: Float[np.ndarray, "code rank"]
    key: Float[np.ndarray, "code rank"]
    reach: float

    @property
    def rank(self) -> int:
        return self.query.shape[1]


@dataclass(frozen=True, slots=True)
class Head:
    """Carries `reads` from the position `offset` tokens back into `writes`, multiplied by `transport`.

    `opened_by` are dimensions of the residual stream of which one must be 1 at the position that reads (none: always
    open); `closed_by` are dimensions that close the head where one is 1; `stopped_by` is a dimension that closes it
    where a token between the two positions has a 1 there; with `pairs`, it is open for some pairs of words only.
    Closed, or before the text's beginning, it attends to BOS or to a token of zeros and writes nothing. `facts`: the
    rows of the table that fail without the head, where it knows facts.
    """

    role: Role
    label: str
    offset: int
    reads: Span
    writes: Span
    transport: Float[np.ndarray, "reads writes"]
    opened_by: tuple[int, ...] = ()
    closed_by: tuple[int, ...] = ()
    channels: tuple[str, ...] = ()
    stopped_by: int | None = None
    pairs: Pairs | None = None
    facts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Bank:
    """Neurons of one role: activation = GELU(Σ reads · pattern + bias), each writing `patterns` of its own.

    Every read is a subspace with one pattern a neuron; a write says from which neuron of the bank on it holds. `facts`
    are the rows of the table that fail without the neuron. `effects`: by how many nats the margin of every row falls
    without it, where facts are superposed.
    """

    role: Role
    labels: Sequence[str]
    reads: Sequence[tuple[Span, Float[np.ndarray, "neuron _"]]]
    bias: Float[np.ndarray, " neuron"]
    writes: Sequence[tuple[int, Span, Float[np.ndarray, "_ _"]]]
    facts: Sequence[tuple[int, ...]]
    effects: Float[np.ndarray, "neuron fact"] | None = None

    def __len__(self) -> int:
        return len(self.bias)


@dataclass(slots=True)
class Layer:
    """Heads and banks of one block, in the order in which they take the block's units."""

    heads: list[Head] = field(default_factory=list)
    banks: list[Bank] = field(default_factory=list)

    @property
    def neurons(self) -> int:
        return sum(map(len, self.banks))


@dataclass(slots=True)
class Circuit:
    """A whole model as data.

    `embedding` and `unembedding` say what the tokens have in a subspace; tokens that say nothing have zeros. END leads
    where the output is empty: its logit is `end_logit` everywhere.
    """

    residual: Residual
    vocabulary: tuple[str, ...]
    head_width: int
    positions: int
    layers: list[Layer]
    embedding: list[tuple[Span, Float[np.ndarray, "vocab _"]]]
    unembedding: (
        tuple[Span, Float[np.ndarray, "vocab _"]] | None
    )  # None: tied, `said` are read by the embedding
    end_logit: float
    activity: float  # an upper bound of the squared norm of what is written besides constants and positions
    directions: dict[str, Alphabet]  # what the directions of a subspace stand for
    steadiness: float  # the constant of LayerNorm over the root of the largest squared norm
    neurons: int = 0  # neurons of every block
    frequencies: int | None = (
        None  # of rotary positions, that tell distances: the highest; None: all but the lowest
    )
    said: dict[Span, float] = field(
        default_factory=dict
    )  # tied: what the final LayerNorm passes on, how much enlarged

    @property
    def width(self) -> int:
        """d_model: what the subspaces need, rounded up to whole heads."""
        return -(-self.residual.width // self.head_width) * self.head_width

    @property
    def heads(self) -> int:
        return self.width // self.head_width


def place(heads: Sequence[Head], layers: list[Layer], first: int, per_layer: int) -> int:
    """Put heads into layers from `first` on, as many to a layer as there is room; the layer after the last one."""
    at = first
    for head in heads:
        while len(_layer(layers, at).heads) >= per_layer:
            at += 1
        layers[at].heads.append(head)
    return at + 1 if heads else first


def put(bank: Bank, layers: list[Layer], at: int) -> None:
    """Put a bank into a layer; banks without neurons are left out."""
    _layer(layers, at)
    if len(bank):
        layers[at].banks.append(bank)


def _layer(layers: list[Layer], at: int) -> Layer:
    while len(layers) <= at:
        layers.append(Layer())
    return layers[at]
