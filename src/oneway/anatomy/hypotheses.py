"""What the posts' hypotheses predict of a model, and which of them it contradicts.

Five hypotheses of how a name becomes a fact, from the Fact Finding sequence (Nanda, Rajamanoharan, Kramár, Shah 2023),
posts 2 and 3, and one rival of them all:

* single-step detokenization: one layer of neurons, each an AND of the name's parts, writes the fact (or several layers
  side by side, none of which reads another);
* pure hash-and-lookup: first neurons that break names up whatever they stand for, then neurons that look the hash up;
* partial hash-and-lookup: the same, but the first ones write the fact already, weakly;
* attention lookup: patterns know the fact, no MLP does;
* multi-token embedding: MLPs put the fact on the name's last token, linearly and whatever the context. It says where,
  and may hold beside one of the first three, which say how.

A *signature* is a number for each test with an interval over facts. `PREDICTED` is a fixed table of what a hypothesis
says of a test: above or below its level. A hypothesis that is contradicted is rejected.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

from oneway.anatomy.asked import Asked
from oneway.anatomy.extraction import Head, direct
from oneway.anatomy.hashing import broken_linearity, names_of, norms
from oneway.anatomy.neurons import nonlinear_excess, shared_neurons
from oneway.anatomy.probes import chance, normed, read_directions, subspace_patching
from oneway.engine import Engine, Logits, Patch, Path, Site
from oneway.engine.patch import MEAN, Intervention
from oneway.evidence.estimate import Estimate, over_facts

Hypothesis = Literal[
    "single-step detokenization",
    "pure hash-and-lookup",
    "partial hash-and-lookup",
    "attention lookup",
    "multi-token embedding",
]
SINGLE_STEP: Hypothesis = "single-step detokenization"
PURE_HASH: Hypothesis = "pure hash-and-lookup"
PARTIAL_HASH: Hypothesis = "partial hash-and-lookup"
ATTENTION: Hypothesis = "attention lookup"
MULTI_TOKEN: Hypothesis = "multi-token embedding"
MECHANISMS = (SINGLE_STEP, PURE_HASH, PARTIAL_HASH, ATTENTION)  # of which at most one holds
Outcome = Literal["survives", "rejected", "undecided"]

PAIRS = 100  # of names, for "broken"
TIED = 0.02  # of the difference of two answers' scores where the head reads: below, they are read alike

# What each test measures. Recall that is kept: 0 is the chance of the most frequent answer, 1 is what the model had.
TESTS = {
    "no MLPs": "recall kept with every MLP mean-ablated at all positions",
    "patterns frozen": "recall kept with all attention patterns on the name fixed at their mean over facts",
    "no MLPs at the end": "recall kept with every MLP mean-ablated at the prompt's last position",
    "no paths": "F9: recall kept with all paths between MLPs mean-ablated on the name's last token",
    "read without paths": "F13: of how many other answers the head's probe has the right one ahead, less of how many "
    "behind, with all paths between MLPs mean-ablated: what they write before any composes",
    "excess at the end": "F11: median share of the name's AND that the neurons make which write it",
    "swapped": "F4: how often the answer follows another fact's, when what the probe reads on the name is that fact's",
    "no context": "F6: of the facts that the head's probe reads in context, the share that it reads on the name alone",
    "norms": "F14: the first needed MLP's output on known names, over that on unknown pairs of their parts",
    "broken": "F15: how far that MLP's output is from adding up what the parts of known names bring",
    "shared": "F10: correlation over neurons of their effects on two facts of one entity",
}

# Midpoints between the nearest of compiled models that a test should tell apart, 0.5 where none of them should be
# below: `benchmarks/oracle.py --calibrate`, 50 models of the seeds 0–9, docs/measured/oracle-calibration.jsonl.
LEVELS: Mapping[str, float] = {
    "no MLPs": 0.5,
    "patterns frozen": 0.5,
    "no MLPs at the end": 0.5,
    "no paths": 0.55,
    "read without paths": 0.14,
    "excess at the end": 0.57,
    "swapped": 0.5,
    "no context": 0.5,
}

# True: above the level. Nothing is said of "excess at the end" where names are hashed: how much of the AND the last
# neurons make depends on how many of all pairs of parts are known. Three tests of the posts are measured and no verdict
# goes by them, since they do not tell the compiled mechanisms apart. Known over unknown norms (F14) are 0.9 to 1.1 in
# all that superpose facts and beyond all bounds with a neuron a fact; linearity (F15) is broken by 0.53 to 0.71 in the
# former and wholly in the latter; effects on two facts of an entity (F10) are correlated by 0 with a neuron a fact and
# by up to 0.3 in the others.
PREDICTED: Mapping[Hypothesis, Mapping[str, bool]] = {
    SINGLE_STEP: {"no MLPs": False, "patterns frozen": True, "no paths": True, "excess at the end": True},
    PURE_HASH: {"no MLPs": False, "patterns frozen": True, "no paths": False, "read without paths": False},
    PARTIAL_HASH: {"no MLPs": False, "patterns frozen": True, "no paths": False, "read without paths": True},
    ATTENTION: {"no MLPs": True, "patterns frozen": False, "no paths": True},
    MULTI_TOKEN: {"no MLPs": False, "no MLPs at the end": True, "swapped": True, "no context": True},
}


def signature(
    engine: Engine,
    asked: Asked,
    head: Head | None = None,
    *,
    effects: Mapping[str, Mapping[str, Float[np.ndarray, " neuron"]]] | None = None,
) -> dict[str, Estimate]:
    """The value of every test of `TESTS` for facts that a model knows, with its interval over the facts.

    `head` says the answer; by default the one with the largest direct effect. `effects[relation][entity]` are effects
    of neurons on facts (`Found.by_entity`), for "shared". A test that cannot be had is left out: what is read on the
    name, where the head is in layer 0; what needs a product of parts, where names have not two tokens; "read
    without paths", where the model keeps its recall without paths between MLPs, since then none composes.

    Raises ValueError where all answers are the same, or where the model is right no more often than the most frequent
    answer is.
    """
    head = direct(engine, asked).direct.top_heads(1)[0] if head is None else head
    kept, layers = Kept(engine, asked), range(engine.layers)
    patterns = tuple(
        Patch(Site("pattern", layer, position=at), MEAN) for layer in layers for at in asked.name
    )
    no_paths = tuple(path for layer in layers for path in _paths_into(layer, asked.final))
    found = {
        "no MLPs": kept(_mlps(layers, None)),
        "patterns frozen": kept(patterns),
        "no MLPs at the end": kept(_mlps(layers, asked.last)),
        "no paths": kept(no_paths),
    }
    if head[0] > 0:
        found["swapped"] = subspace_patching(engine, asked, head)["probe"].follows
        read = ProbeReads(engine, asked, head)
        found["no context"] = read.of_those_read(asked.alone)
        if found["no paths"].mean < LEVELS["no paths"]:
            found["read without paths"] = read.ahead(no_paths)
        if len(asked.name) == 2:
            found |= _of_parts(engine, asked, head, kept)
    if effects is not None and len(effects) > 1:
        found["shared"] = shared_neurons(effects, {}).mean("other fact")
    return {name: found[name] for name in TESTS if name in found}


def pooled(signatures: Sequence[Mapping[str, Estimate]]) -> dict[str, Estimate]:
    """The signature over several relations, or groups of names: each test's mean over all their facts.

    Σ nᵢ mᵢ / Σ nᵢ, with a half-width of √Σ(nᵢ hᵢ)² / Σ nᵢ on either side: as if facts of different relations were
    independent. A test is pooled over those signatures that have it.
    """
    found = {}
    for test in TESTS:
        own = [one[test] for one in signatures if test in one]
        if own:
            n = np.array([one.n for one in own], dtype=float)
            weights = n / n.sum() if n.sum() else np.full(len(own), 1 / len(own))
            mean = float(weights @ [one.mean for one in own])
            below, above = (
                float(np.linalg.norm(weights * np.array(side)))
                for side in ([one.mean - one.low for one in own], [one.high - one.mean for one in own])
            )
            found[test] = Estimate(mean, mean - below, mean + above, int(n.sum()), own[0].unit)
    return found


class Kept:
    """How much of the recall is left under an intervention: 0 at chance, 1 where as much as without.

    (right − c) / (recall − c) of every fact, c being the share of the most frequent answer. Right is what has the
    highest score among the answers.
    """

    def __init__(self, engine: Engine, asked: Asked) -> None:
        self.engine, self.asked, self.chance = engine, asked, chance(asked.right)
        self.readout = Logits(answers=asked.answers.expand(len(asked), -1))
        self.recall = float(self._right(()).mean())
        if self.recall <= self.chance:
            raise ValueError(
                f"the model is right about {self.recall:.0%} of {asked.facts[0].relation!r}, where always saying the "
                f"most frequent answer is about {self.chance:.0%}: there is no lookup to explain"
            )

    def __call__(self, intervention: Intervention) -> Estimate:
        return over_facts(
            (self._right(intervention) - self.chance) / (self.recall - self.chance), "of the recall"
        )

    def _right(self, intervention: Intervention) -> Float[np.ndarray, " fact"]:
        said = self.engine.effects(self.asked.tokens, [intervention], self.readout).patched[0].argmax(-1)
        return (said.cpu() == self.asked.right).double().numpy()


class ProbeReads:
    """What a head's mechanistic probe reads of the answers on the name's last token (F4).

    Scores are centred over the facts that are read.
    """

    def __init__(self, engine: Engine, asked: Asked, head: Head) -> None:
        self.engine, self.asked, self.layer = engine, asked, head[0]
        self.directions = read_directions(engine, asked, head)
        self.read = self._scores(asked.tokens, asked.final)
        different = torch.arange(len(asked.answers)) != asked.right[:, None]
        self.usual = float(self._ahead(self.read).abs()[different].median())

    def ahead(self, intervention: Sequence[Patch | Path]) -> Estimate:
        """How many of the other answers the right one is ahead of, less how many are ahead of it, as a share, when the
        model is intervened on: 0 by chance, whatever the answers' frequencies, 1 where the right one is always highest.
        Differences below `TIED` of the usual one without the intervention are none."""
        ahead = self._ahead(self._scores(self.asked.tokens, self.asked.final, intervention))
        told = ahead.sign() * (ahead.abs() > TIED * self.usual)
        return over_facts((told.sum(1) / (ahead.shape[1] - 1)).numpy(), "of the other answers")

    def of_those_read(self, tokens: Int[Tensor, "fact pos"]) -> Estimate:
        """Of the facts that the head reads, how many are read on the last token of other prompts of them."""
        there = self._scores(tokens, tokens.shape[1] - 1)
        read, again = (scores.argmax(-1) == self.asked.right for scores in (self.read, there))
        return over_facts(again[read].double().numpy(), "probability")

    def _scores(
        self, tokens: Int[Tensor, "fact pos"], position: int, intervention: Sequence[Patch | Path] = ()
    ) -> Float[Tensor, "fact answer"]:
        site = Site("resid_post", self.layer - 1, position=position)
        there = self.engine.run(tokens, [site], intervention)[site]
        scores = normed(self.engine, self.layer, there) @ self.directions
        return (scores - scores.mean(0)).double().cpu()

    def _ahead(self, scores: Float[Tensor, "fact answer"]) -> Float[Tensor, "fact answer"]:
        """By how much the right answer is ahead of each."""
        return scores.gather(1, self.asked.right[:, None]) - scores


def _mlps(layers: Iterable[int], position: int | None) -> tuple[Patch, ...]:
    return tuple(Patch(Site("mlp_out", layer, position=position), MEAN) for layer in layers)


def _paths_into(layer: int, at: int) -> tuple[Path, ...]:
    """Every path from an earlier MLP to that of a layer, on the name's last token."""
    into = Site("mlp_out", layer, position=at)
    return tuple(Path(Patch(Site("mlp_out", before, position=at), MEAN), into) for before in range(layer))


def _of_parts(engine: Engine, asked: Asked, head: Head, kept: Kept) -> dict[str, Estimate]:
    """The tests on the product of first and last parts: F11, and F14 and F15 at the first MLP that is needed."""
    names = names_of(asked)
    found = {"excess at the end": nonlinear_excess(engine, asked, names, head).median()}
    costs = [1 - kept(_mlps((layer,), asked.final)).mean for layer in range(head[0])]
    needed = _first_of_the_largest(costs)
    if costs[needed] <= 0 or names.known.all():
        return found
    found["norms"] = _of_layer(norms(engine, names).table(), "ratio", needed)
    try:
        broken = broken_linearity(engine, names, pairs=PAIRS, shuffles=0)
    except ValueError:  # names that share too few parts to be swapped
        return found
    return found | {"broken": _of_layer(broken.filter(of="mlp_out", names="known"), "broken", needed)}


def _first_of_the_largest(costs: Sequence[float]) -> int:
    """The first layer that costs at least half of what the costliest does: layers side by side share what they know."""
    most = max(costs)
    return next(layer for layer, cost in enumerate(costs) if cost >= most - abs(most) / 2)


def _of_layer(table: pl.DataFrame, value: str, layer: int) -> Estimate:
    row = table.row(by_predicate=pl.col("layer") == layer, named=True)
    return Estimate(row[value], row["low"], row["high"], row["n"], value)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What became of every hypothesis, by `cells`: one row a hypothesis and test, as predicted and as measured.

    `agrees` is null where the interval holds the level, or the test could not be had; then `measured` is null. `best`
    is the mechanism that survives, of several the one with most cells that agree; None where that is no single one.
    Multi-token embedding is judged beside it.
    """

    cells: pl.DataFrame
    outcomes: Mapping[Hypothesis, Outcome]
    best: Hypothesis | None


def verdicts(found: Mapping[str, Estimate]) -> Judged:
    """Judge every hypothesis by a signature.

    A cell agrees where the whole interval is on the side of the level that is predicted, contradicts where it is on the
    other, and is open where the interval holds the level. A hypothesis is rejected where a cell contradicts it,
    survives where none does and more agree than are open, and is undecided otherwise.
    """
    rows: list[tuple[str | float | None, ...]] = []
    for hypothesis, predicted in PREDICTED.items():
        for test, above in predicted.items():
            one, level = found.get(test), LEVELS[test]
            said = (hypothesis, test, TESTS[test], f"{'above' if above else 'below'} {level:g}")
            if one is None or not one.defined:
                rows.append((*said, None, None, None, None))
                continue
            clear = one.low > level or one.high < level
            agrees = (one.mean > level) == above if clear else None
            rows.append((*said, one.mean, one.low, one.high, agrees))
    words = dict.fromkeys(("hypothesis", "test", "meaning", "predicted"), pl.String())
    numbers = dict.fromkeys(("measured", "low", "high"), pl.Float64())
    cells = pl.DataFrame(rows, schema={**words, **numbers, "agrees": pl.Boolean()}, orient="row")
    outcomes = {hypothesis: _outcome(cells.filter(hypothesis=hypothesis)) for hypothesis in PREDICTED}
    return Judged(cells, outcomes, _best(cells, outcomes))


def _outcome(cells: pl.DataFrame) -> Outcome:
    judged = cells.filter(pl.col("measured").is_not_null())["agrees"]
    agree, against, open_ = (judged.eq_missing(kind).sum() for kind in (True, False, None))
    return "rejected" if against else "survives" if agree > open_ else "undecided"


def _best(cells: pl.DataFrame, outcomes: Mapping[Hypothesis, Outcome]) -> Hypothesis | None:
    left = [mechanism for mechanism in MECHANISMS if outcomes[mechanism] == "survives"]
    agreeing = {one: int(cells.filter(hypothesis=one)["agrees"].sum()) for one in left}
    most = [one for one in left if agreeing[one] == max(agreeing.values())]
    return most[0] if len(most) == 1 else None
