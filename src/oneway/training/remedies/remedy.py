"""The remedies by name: a corpus, an objective and changes of the configuration, each with its source."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from oneway.training.remedies.lesson import Corpus
from oneway.training.remedies.orders import reverse_training, semantic_permutation
from oneway.training.remedies.sentences import (
    both_directions,
    identity_bridge,
    linked_names,
    masked_restoration,
    plain,
    relation_bridge,
)

if TYPE_CHECKING:
    from oneway.training.remedies.objectives import Objective, Symmetry

Answering = Literal["next word", "both sides", "concepts", "search", "linked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """What is read (`corpus`), what is learnt of it (`objective`), and what changes in the configuration.

    `weight_decay` replaces the bench's where it is given; `unembedding` is tied or not; `symmetry` of values and
    outputs with the weight `penalty`. `answering` says how the model is asked: the next word, a mask restored from both
    sides, the nearest name, by stating every candidate's fact first ("search"), or by way of the names' own words
    ("linked"). `deviation` says where a remedy is not as in its `source`.
    """

    id: str
    what: str
    source: str
    deviation: str = ""
    corpus: Corpus = plain
    objective: "Objective" = "next word"
    answering: Answering = "next word"
    weight_decay: float | None = None
    unembedding: Literal["tied", "untied"] = "untied"
    symmetry: "Symmetry" = "none"
    penalty: float = 0.0


_REVERSE = "Golovneva et al. 2024 (arXiv 2403.13799)"
_SYMMETRY = "ours, on Zhu et al. 2024, open questions (arXiv 2405.04669)"

REMEDIES: Mapping[str, Remedy] = {
    "none": Remedy(id="R0", what="the facts as they are told", source="the baseline"),
    "both directions": Remedy(
        id="R1", what="every fact told both ways", source="the upper bound", corpus=both_directions
    ),
    "reversed words": Remedy(
        id="R2", what="texts also read word by word from the end", source=_REVERSE,
        deviation="tokens are words", corpus=reverse_training("word"),
    ),
    "reversed names": Remedy(
        id="R2", what="texts also reversed, names kept in order", source=_REVERSE,
        deviation="names are those of the table", corpus=reverse_training("name"),
    ),
    "reversed segments": Remedy(
        id="R2", what="texts also in random segments of up to 3 words, reversed", source=_REVERSE,
        deviation="segments are drawn beforehand, twice a text", corpus=reverse_training("segment"),
    ),
    "permuted chunks": Remedy(
        id="R3", what="names and what stands between them in the original, reversed or a random order",
        source="Guo et al. 2024 (arXiv 2403.00758)", deviation="chunks are those of the table",
        corpus=semantic_permutation(),
    ),
    "bidirectional": Remedy(
        id="R4", what="next-word loss and masked words restored without the causal mask",
        source="Lv et al. 2023, BICO (arXiv 2311.07468)",
        deviation="trained from nothing, positions learned; mask rates as in R5", objective="both sides",
    ),
    "uniform masks": Remedy(
        id="R5", what="words masked at a rate from U(0, 1), restored from both sides",
        source="Kitouni et al. 2024, MLM-U (arXiv 2406.05183)",
        deviation="one encoder instead of an encoder and a decoder", objective="uniform masks", answering="both sides",
    ),
    "masked restoration": Remedy(
        id="R6", what="a masked text, then the text itself", source="Pan et al. 2025 (arXiv 2510.09885)",
        deviation="a token instead of an instruction; four masks a text", corpus=masked_restoration(),
    ),
    "identity bridge": Remedy(
        id="R7", what="`a → ← a` and `b = b`, facts counting six times", source="arXiv 2602.02470",
        deviation="composed of the relation's templates; pairs not kept in one batch", corpus=identity_bridge(),
    ),
    "relation bridge": Remedy(
        id="R7", what="the relations' own words with one name in both slots, `b → b` and `a ← a`",
        source="ours, after arXiv 2602.02470", corpus=relation_bridge,
    ),
    "tied relation bridge": Remedy(
        id="R7", what="the same with tied embeddings", source="ours, after arXiv 2602.02470",
        corpus=relation_bridge, unembedding="tied",
    ),
    "linked names": Remedy(
        id="R7", what="every name linked with a word of its own, by way of which facts, bridges and answers are said",
        source="ours, after arXiv 2602.02470", corpus=linked_names, answering="linked",
        deviation="three questions, the model's own words between them: b's word, its fact's, that word's name",
    ),
    "concepts": Remedy(
        id="R8", what="the next name's vector told from those of the batch", source="arXiv 2504.01928 (JEPA)",
        deviation="vectors come from the model itself, without a second encoder",
        objective="concepts", answering="concepts",
    ),
    "concept bridge": Remedy(
        id="R8", what="names as vectors, the relation bridge's sentences and a weight decay of 1",
        source="ours: arXiv 2504.01928 with the bridge of arXiv 2602.02470",
        deviation="vectors come from the model itself", corpus=relation_bridge,
        objective="concepts", answering="concepts", weight_decay=1.0,
    ),
    "weight decay": Remedy(
        id="R9", what="many pairs both ways and a weight decay of 1", source="arXiv 2509.21993",
        deviation="single pairs, but for the world of families", weight_decay=1.0,
    ),
    "tied": Remedy(id="R10", what="tied embeddings", source=_SYMMETRY, unembedding="tied"),
    "symmetry penalty": Remedy(
        id="R10", what="tied embeddings and ‖M − Mᵀ‖²/‖M‖² of M = W_V W_O in the loss", source=_SYMMETRY,
        unembedding="tied", symmetry="penalty", penalty=1.0,
    ),
    "shared factor": Remedy(
        id="R10", what="tied embeddings, every head writes with the matrix by which it reads", source=_SYMMETRY,
        unembedding="tied", symmetry="shared factor",
    ),
    "retrieve then reverse": Remedy(
        id="R11", what="every candidate's forward fact written first, the one that holds the name asked is the answer",
        source="Nanda 2023, thread on the reversal curse (N5)",
        deviation="what was written is searched for the name, not read by the model", answering="search",
    ),
    "masked diffusion": Remedy(
        id="R12", what="as R5 with 1/t weights, answers unmasked the surest word first",
        source="LLaDA and its theory (arXiv 2602.02133)",
        deviation="whole answers are masked, and what was filled in stays",
        objective="diffusion", answering="both sides",
    ),
}  # fmt: skip
