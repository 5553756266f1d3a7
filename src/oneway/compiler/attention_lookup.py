"""Attention lookup: the attention pattern itself knows the facts. Names of two words, one relation, at most 8 answers.

At the last word of a name a `pattern` head of an answer looks one token back. Its scores are bilinear in the two
words: 2·LEAD or more for the names that have its answer, 0 or less for any other pair, so that it attends to the first
word there and to BOS elsewhere. What it brings is one bit, that its answer holds; `relation` heads turn it into the
answer's tokens. No neuron knows a fact.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import relu

from oneway.compiler.arrangement import arrange
from oneway.compiler.attention import LEAD
from oneway.compiler.back import Back, output_name
from oneway.compiler.capacity import Capacity
from oneway.compiler.circuit import Circuit, Head, Pairs, Role, put
from oneway.compiler.codes import Alphabet
from oneway.compiler.decoys import WIDTH as DECOY_WIDTH
from oneway.compiler.decoys import add_decoys
from oneway.compiler.front import Front
from oneway.compiler.lookup import Lookup, Words
from oneway.compiler.neuron_per_fact import FREQUENCIES, STEADY, STEADY_IN_NOISE, check_sizes
from oneway.compiler.refusal import CompileError
from oneway.compiler.residual import Residual
from oneway.compiler.tokenizer import word_of

MOST_ANSWERS = 8
HEAD_WIDTH = 128
RANK = 62  # of a head's scores: what positions and BOS leave of its width
_ROTARY = 32  # frequencies that tell distances; the slower ones carry the words
_NAMES_WIDTH = 256
_STEPS, _RATE, _SAMPLE = 600, 0.05, 512
_SIZES = (1, 2, 4, 8)  # heads of an answer that are tried


def plan_circuit(lookup: Lookup, capacity: Capacity, architecture: str) -> Circuit:
    """The circuit of a lookup. Raises CompileError for tables of another shape, and sizes that are too small."""
    _refuse(lookup, capacity)
    front, back = Front.of(lookup, capacity.seed, _NAMES_WIDTH), Back.of(lookup, capacity.seed)
    front = replace(front, names=_levelled(front.names))
    answers = tuple(dict.fromkeys(entry.answer for entry in lookup.entries))
    patterns = _patterns(lookup, front.names, answers, capacity.seed)
    residual = _residual(front, back, capacity, architecture, len(answers), len(patterns))
    scale = capacity.margin / back.lead
    span, codes, end = back.unembedding(residual, scale)
    outputs = {output_name(place): back.answers for place in range(lookup.longest_answer)}
    directions = {
        **front.directions(),
        **{
            name: known for name, known in back.directions().items() if name in outputs or name[:5] == "asked"
        },
        "name word": Alphabet.of_bits(["a word of a name"]),
        "known": Alphabet.of_bits([" ".join(answer) for answer in answers]),
    }
    words = [float(word_of(token) in set(front.names.words)) for token in lookup.vocabulary]
    circuit = Circuit(
        residual=residual,
        vocabulary=lookup.vocabulary,
        head_width=HEAD_WIDTH,
        positions=capacity.positions,
        layers=[],
        embedding=[
            *front.embedding(residual),
            (residual["name word"], np.array(words, dtype=np.float32)[:, None]),
        ],
        unembedding=(span, codes),
        end_logit=end,
        activity=2.0 * (2 + front.phrases.longest + 8 + 2 * lookup.longest_answer),
        directions=directions,
        steadiness=STEADY_IN_NOISE if capacity.noise else STEADY,
        frequencies=_ROTARY,
    )
    heads = [pattern.head(residual, lookup) for pattern in patterns]
    texts = [head for head in front.spelling(residual) if head.role is Role.PREVIOUS_TEXT]
    arranged = arrange(
        circuit,
        front,
        [*heads, *texts],
        [*back.asked_heads(residual), *_relation_heads(front, back, residual, answers)],
        back.next_heads(residual),
        0,
        architecture,
    )
    for at, bank in arranged.asking:
        put(bank, circuit.layers, at)
    if capacity.decoys:
        add_decoys(circuit, capacity.decoys, capacity.seed)
    needed = max(max(layer.neurons for layer in circuit.layers), 1)
    if capacity.neurons is not None and capacity.neurons < needed:
        raise CompileError(
            [f"{capacity.neurons} neurons in a block are too few: the smallest that would do is {needed}"]
        )
    circuit.neurons = capacity.neurons or needed
    return circuit


def _refuse(lookup: Lookup, capacity: Capacity) -> None:
    reasons = []
    if capacity.neurons_per_fact is not None:
        reasons.append("attention-lookup has no neuron that knows a fact: leave out neurons_per_fact")
    if len(lookup.channels) > 1:
        reasons.append(f"attention-lookup knows one relation in one direction, not {len(lookup.channels)}")
    answers = {entry.answer for entry in lookup.entries}
    if len(answers) > MOST_ANSWERS:
        reasons.append(
            f"attention-lookup tells at most {MOST_ANSWERS} answers apart, the table has {len(answers)}"
        )
    reasons += [
        f"attention-lookup takes names of two words, which {' '.join(entry.name)!r} is not"
        for entry in lookup.entries
        if len(entry.name) != 2
    ]
    if reasons:
        raise CompileError(reasons)


def _residual(
    front: Front, back: Back, capacity: Capacity, architecture: str, answers: int, heads: int
) -> Residual:
    residual = Residual()
    front.lay(residual)
    residual.lay("name word", 1)
    residual.lay("known", answers)
    back.lay_outputs(residual)
    if architecture == "gpt2":
        residual.lay("position", 2 * FREQUENCIES)
    # All heads that know stand in one block.
    residual.lay("room", max(0, HEAD_WIDTH * heads - residual.width))
    if capacity.decoys:
        residual.lay("decoy", DECOY_WIDTH)
    check_sizes(front.lookup, residual, capacity, HEAD_WIDTH)
    if capacity.width is not None:
        residual.lay("spare", capacity.width - residual.width)
    return residual


def _relation_heads(front: Front, back: Back, residual: Residual, answers: tuple[Words, ...]) -> list[Head]:
    """Heads that turn which answer holds into the answer's tokens, one for each distance and place."""
    number = {word: index for index, word in enumerate(back.answers.words)}
    found = []
    for gate, (channel, distance) in enumerate(front.gates):
        for place_ in range(back.lookup.longest_answer):
            transport = np.zeros((len(answers), back.answers.width), dtype=np.float32)
            for row, answer in enumerate(answers):
                if place_ < len(answer):
                    transport[row] = back.answers.codes[number[answer[place_]]]
            found.append(
                Head(
                    Role.RELATION,
                    f"{channel}: {output_name(place_)}, {distance} back",
                    distance,
                    residual["known"],
                    residual[output_name(place_)],
                    transport,
                    opened_by=(residual["gate"].dim(gate),),
                    channels=(channel,),
                )
            )
    return found


@dataclass(frozen=True, slots=True)
class Pattern:
    """The scores of one head that knows some facts of one answer."""

    number: int  # of the answer
    label: str
    facts: tuple[int, ...]
    query: Float[np.ndarray, "code rank"]
    key: Float[np.ndarray, "code rank"]
    reach: float

    def head(self, residual: Residual, lookup: Lookup) -> Head:
        to = np.zeros((1, residual["known"].width), dtype=np.float32)
        to[0, self.number] = 1.0
        pairs = Pairs(residual["name 0"], self.query, self.key, self.reach)
        return Head(
            Role.PATTERN,
            self.label,
            1,
            residual["name word"],
            residual["known"],
            to,
            channels=lookup.channels,
            pairs=pairs,
            facts=self.facts,
        )


def _levelled(names: Alphabet) -> Alphabet:
    """The same words with a dimension that all of them share, so that a product of two codes has a level of its own.

    Without it a score that is 2·LEAD for some pairs and at most 0 for all others would have to come from the codes'
    likenesses alone.
    """
    shared = np.ones((len(names.words), 1), dtype=np.float32)
    codes = np.hstack([names.codes, shared]) * np.float32(0.5**0.5)
    return Alphabet(names.words, codes, (1 + names.likeness) / 2)


def _patterns(lookup: Lookup, names: Alphabet, answers: tuple[Words, ...], seed: int) -> list[Pattern]:
    """As few heads for each answer as know its facts."""
    number = {word: index for index, word in enumerate(names.words)}
    codes = torch.from_numpy(names.codes)
    pairs = torch.tensor([[number[word] for word in entry.name] for entry in lookup.entries])
    found = []
    for index, answer in enumerate(answers):
        rows = [row for row, entry in enumerate(lookup.entries) if entry.answer == answer]
        for size in _SIZES:
            fitted = [
                _fit(codes, pairs[rows[part::size]], seed + part) for part in range(min(size, len(rows)))
            ]
            if all(fit is not None for fit in fitted):
                break
        else:
            raise CompileError(
                [f"{_SIZES[-1]} heads cannot tell the names with the answer {' '.join(answer)!r} apart"]
            )
        for part, fit in enumerate(fitted):
            assert fit is not None
            facts = [fact for row in rows[part::size] for fact in lookup.entries[row].facts]
            found.append(Pattern(index, f"names of {' '.join(answer)}", tuple(facts), *fit))
    return found


def _fit(
    codes: Tensor, known: Int[Tensor, "name 2"], seed: int
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Query and key whose scores are at least 2·LEAD for the known pairs of words and at most 0 for all others.

    Least squares of what is missing, on all pairs or on random rows of them, by Adam. None where it does not get there.
    """
    generator = torch.Generator().manual_seed(seed)
    count, width = codes.shape
    query, key = (torch.randn(width, RANK, generator=generator) * width**-0.25 for _ in range(2))
    opened = torch.zeros(count, count, dtype=torch.bool)
    opened[known[:, 0], known[:, 1]] = True
    optimiser = torch.optim.Adam([query.requires_grad_(), key.requires_grad_()], lr=_RATE)
    for step in range(_STEPS):
        rows = torch.arange(count)
        if count > _SAMPLE:
            drawn = torch.randint(count, (_SAMPLE // 2,), generator=generator)
            own = known[torch.randint(len(known), (_SAMPLE // 2,), generator=generator), 0]
            rows = torch.cat([own, drawn])
        scores = (codes[rows] @ key) @ (codes @ query).T / LEAD  # 2 or more, 0 or less
        missing = torch.where(opened[rows], relu(2.3 - scores), relu(scores + 0.3))
        loss = missing.square().sum() / len(rows)
        for group in optimiser.param_groups:
            group["lr"] = _RATE * (1 - step / _STEPS)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        scores = (codes @ key) @ (codes @ query).T
        if scores[opened].min() < 2 * LEAD or scores[~opened].max() > 0:
            return None
        lengths = [float((codes @ part).norm(dim=1).max()) for part in (query, key)]
    return query.detach().numpy(), key.detach().numpy(), 2 * LEAD + lengths[0] * lengths[1]
