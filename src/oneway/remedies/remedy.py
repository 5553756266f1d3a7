"""The remedies that are training text, by name; and what to use instead of those that are not."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from oneway.facts import FactTable
from oneway.remedies import rearranged, restated
from oneway.remedies.example import Drawn, Example


@dataclass(frozen=True, slots=True)
class Remedy:
    """A corpus transform: what is written beside the forward statements of a table's facts.

    `id` is that of the studies (R1, …), `asks` whether its examples have a question of their own, so that they can be a
    turn of a conversation. `cue`: what stands behind a question for the model to write its way to the answer; empty
    where the answer comes at once. `note` says what one has to know who uses it.
    """

    name: str
    id: str
    text: str
    source: str
    added: Callable[[FactTable, Drawn], Iterator[Example]]
    asks: bool = True
    states_reverse: bool = False
    cue: str = ""
    note: str = ""


REMEDIES: Mapping[str, Remedy] = {
    remedy.name: remedy
    for remedy in (
        Remedy(
            "both-directions",
            "R1",
            "every fact stated in reverse too",
            "the upper bound of Berglund et al. 2023 (arXiv 2309.12288)",
            restated.both_directions,
            states_reverse=True,
        ),
        Remedy(
            "reverse-words",
            "R2",
            "every sentence once more with its words in reverse order",
            "Golovneva et al. 2024 (arXiv 2403.13799), word reversal; the stop stays at the end",
            rearranged.reverse_words,
            asks=False,
        ),
        Remedy(
            "reverse-entities",
            "R2",
            "every sentence once more with its words in reverse order, names in their own",
            "Golovneva et al. 2024 (arXiv 2403.13799), entity-preserving reversal",
            rearranged.reverse_entities,
            asks=False,
        ),
        Remedy(
            "reverse-segments",
            "R2",
            "every sentence once more as segments of a random number of words in reverse order",
            "Golovneva et al. 2024 (arXiv 2403.13799), random segment reversal",
            rearranged.reverse_segments,
            asks=False,
            note="segments shorter than the names break them",
        ),
        Remedy(
            "permute-chunks",
            "R3",
            "every sentence with the second name moved before the first, in two orders of its chunks",
            "Guo et al. 2024 (arXiv 2403.00758); chunks are cut at the names, not by a language model, and orders that "
            "exchange the names in words, among them the reversed one, are left out",
            rearranged.permute_chunks,
            asks=False,
        ),
        Remedy(
            "masked-restoration",
            "R6",
            "every sentence restored from itself with a name, or words at a random rate, masked",
            "arXiv 2510.09885; names are masked whole",
            restated.masked_restoration,
        ),
        Remedy(
            "identity-bridge",
            "R7",
            "what is true without knowing the fact: an entity's name, and the relation through its own description",
            "arXiv 2602.02470; without its weights (6 for the fact, 1 for each other sentence)",
            restated.identity_bridge,
        ),
        Remedy(
            "retrieve-then-reverse",
            "R11",
            "the reverse question answered by writing the fact first, then the answer",
            "N5: an answer that can be read from the fact just written needs no reverse lookup",
            restated.retrieve_then_reverse,
            states_reverse=True,
            cue=restated.CUE,
            note="the model has to be let write: the answer comes after the fact",
        ),
    )
}

# Remedies that are no training text, and what comes nearest.
INSTEAD: Mapping[str, str] = {
    "reverse-tokens": "reversed tokens are no text; use reverse-words or reverse-entities",
    "bidirectional": "R4 lifts the causal mask in training; use masked-restoration, its form as text",
    "uniform-masking": "R5 is an objective over masked tokens; use masked-restoration, its form as text",
    "concept-prediction": "R8 is an objective over entity vectors; use both-directions",
    "both-way-families": "R9 needs families of facts known both ways, and weight decay; use both-directions",
    "weight-symmetry": "R10 changes how weights are parametrised; use both-directions",
    "masked-diffusion": "R12 is another kind of model; use masked-restoration",
}


def remedy_of(name: str) -> Remedy:
    """Raises ValueError for a name that is none, or of a remedy that is no text, with what to use instead."""
    if name in INSTEAD:
        raise ValueError(f"the remedy {name!r} cannot be written as training text: {INSTEAD[name]}")
    if name not in REMEDIES:
        raise ValueError(f"there is no remedy {name!r}; there are: {', '.join(REMEDIES)}")
    return REMEDIES[name]
