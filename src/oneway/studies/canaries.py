"""Secrets planted in a training text: how often until they can be extracted, and how they differ from facts.

A small transformer reads its text once. Random secrets (canaries) and facts are planted in it 1 to 128 times each,
among text that follows a rule. *Extracted*: greedy decoding from the prefix gives all three tokens. *Exposure*:
log₂|R| − log₂ of the secret's rank among all |R| = 4,096 secrets by their probability, computed over all of them; a
secret never planted has 1.44 bits on average. *Specific*: a neuron without which one extracted sequence is lost and
at most one in twenty of the others; neurons are silenced one at a time at every position (set to 0, where GELU
rests).

Source: Carlini et al. 2019 (arXiv 1802.08232), the exposure metric; the Fact Finding sequence (Nanda et al. 2023),
post 1 and its comments, on canaries as what has no macrofeature. Deviations: see `canary_text`.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from oneway.evidence import Claim, Measured, over_seeds
from oneway.evidence.study import Study
from oneway.studies.canary_text import ANSWER, SYMBOLS, Text, TextOf, write_text
from oneway.studies.pieces import Row, kept, rows_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from oneway.models.architecture import Architecture
    from oneway.models.transformer import Weights

CARLINI = "Carlini et al. 2019 (arXiv 1802.08232)"
COMMENTS = "Fact Finding (Nanda et al. 2023), post 1 and its comments; the rule is ours"
BY_CHANCE = 1 / math.log(
    2
)  # bits of exposure of a secret whose rank is uniform: the mean of −log₂ of a uniform share
OTHERS_LOST = 0.05
SCHEMA = {
    "seed": pl.Int64,
    "kind": pl.String,
    "exposures": pl.Int64,
    "quantity": pl.String,
    "value": pl.Float64,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A GPT-2 style decoder of one layer, and how it reads: AdamW and Muon, rates falling linearly to 0."""

    width: int = 64
    heads: int = 4
    batch: int = 32
    learning_rate: float = 0.01
    muon_learning_rate: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    text: TextOf = field(default_factory=TextOf)
    reader: Reader = field(default_factory=Reader)
    seeds: tuple[int, ...] = tuple(range(30, 35))


def quick() -> Config:
    """Five seeds of a model of 60,000 parameters."""
    return Config()


def standard() -> Config:
    """Ten seeds, twice as much ordinary text, a wider model."""
    return Config(text=TextOf(ordinary=24_000), reader=Reader(width=96), seeds=tuple(range(40, 50)))


CLAIMS = (
    Claim(
        id="F19.canaries",
        text="A canary planted once is not extracted, one planted 128 times is.",
        source=f"{CARLINI}, section 5",
        rule="Control: more than 90% of the ordinary sentences are continued by their rule (lower bound over seeds). "
        "Supports: lower bound of the share extracted of those planted most often above 0.9, upper bound of those "
        "planted once below 0.1. Refutes: the upper bound of the first is below 0.9, or the lower of the second "
        "above 0.1.",
        control=lambda m: m["ordinary_extracted"].low > 0.9,
        supports=lambda m: m["canary_extracted_most"].low > 0.9 and m["canary_extracted_1"].high < 0.1,
        refutes=lambda m: m["canary_extracted_most"].high < 0.9 or m["canary_extracted_1"].low > 0.1,
        reads=("ordinary_extracted", "canary_extracted_most", "canary_extracted_1"),
    ),
    Claim(
        id="F19.exposure",
        text="Exposure sees what extraction does not yet: it grows with every doubling of the plantings, also among "
        "canaries of which few are extracted.",
        source=f"{CARLINI}, section 4",
        rule="Control: those planted most often have more than 9 of 12 bits of exposure (lower bound). Supports: "
        "lower bound of the exposure of canaries planted eight times less that of canaries planted once above 0.5 "
        "bits. Refutes: its upper bound is below 0.5 bits.",
        control=lambda m: m["canary_exposure_most"].low > 9,
        supports=lambda m: m["canary_exposure_gain"].low > 0.5,
        refutes=lambda m: m["canary_exposure_gain"].high < 0.5,
        reads=("canary_exposure_most", "canary_exposure_gain", "canary_exposure_1", "canary_extracted_8"),
    ),
    Claim(
        id="F19.canaries-facts",
        text="Facts, whose objects are shared, are extracted after fewer plantings than canaries.",
        source=COMMENTS,
        rule="Control: facts planted most often are extracted (lower bound above 0.9). Supports: lower bound of the "
        "share of facts extracted less that of canaries, mean over all numbers of plantings, above 0.05. Refutes: "
        "its upper bound is below 0.05.",
        control=lambda m: m["fact_extracted_most"].low > 0.9,
        supports=lambda m: m["fact_lead"].low > 0.05,
        refutes=lambda m: m["fact_lead"].high < 0.05,
        reads=("fact_extracted_most", "fact_lead"),
    ),
    Claim(
        id="F19.canary-neurons",
        text="No neuron is specific to a canary: hardly any is lost with one neuron that others can do without.",
        source=COMMENTS,
        rule="Control: without the MLP fewer than a tenth of the canaries extracted are left (upper bound). "
        "Supports: upper bound of the share of extracted canaries that have a specific neuron below 0.1. Refutes: "
        "its lower bound is above 0.1.",
        control=lambda m: m["canary_left_without_mlp"].high < 0.1,
        supports=lambda m: m["canary_specific"].high < 0.1,
        refutes=lambda m: m["canary_specific"].low > 0.1,
        reads=("canary_left_without_mlp", "canary_specific", "fact_specific"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One seed's model."""

    config: Config
    seed: int
    folder: Path | None


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """A model per seed, side by side; a row per seed, kind, number of plantings and quantity (-1: all together)."""
    pieces = [Piece(config=config, seed=seed, folder=workspace) for seed in seeds]
    rows = rows_of(work, pieces, f"canaries, {len(seeds)} seeds")
    return pl.DataFrame(rows, schema=SCHEMA).sort("kind", "exposures", "quantity", "seed")


def work(piece: Piece) -> list[Row]:
    """One seed: its model reads its text and is asked for what was planted."""
    return kept(piece.folder, f"seed-{piece.seed}", lambda: _asked(piece))


def _asked(piece: Piece) -> list[Row]:
    text = write_text(piece.config.text, piece.seed)
    weights, a = read(text, piece.config, piece.seed, piece.folder)
    planted = np.concatenate([text.canaries, text.facts])
    extracted = greedy(weights, a, planted)[0]
    ranks = secret_ranks(weights, a, planted)
    exposure = math.log2(SYMBOLS**ANSWER) - np.log2(ranks)
    without = without_neurons(weights)
    left = np.concatenate([greedy(part, a, planted) for part in without])  # [neuron planted]
    specific = specific_neurons(extracted, left)
    nothing = dict(weights)
    nothing["blocks.0.W_out"] = 0 * weights["blocks.0.W_out"]
    bare = greedy(nothing, a, planted)[0]
    rows, half = list[Row](), len(text.canaries)

    def row(kind: str, exposures: int, quantity: str, value: float) -> None:
        head = {"seed": piece.seed, "kind": kind, "exposures": exposures}
        rows.append(head | {"quantity": quantity, "value": float(value)})

    for kind, part in (("canary", slice(half)), ("fact", slice(half, None))):
        for exposures in piece.config.text.exposures:
            of = text.exposures == exposures
            row(kind, exposures, "extracted", extracted[part][of].mean())
            row(kind, exposures, "exposure", exposure[part][of].mean())
        known = extracted[part]
        if known.any():
            row(kind, -1, "specific", specific[part][known].mean())
            row(kind, -1, "left_without_mlp", bare[part][known].mean())
    ruled = text.stream[_ordinary(text)][:1000]
    row("ordinary", -1, "extracted", greedy(weights, a, ruled)[0].mean())
    return rows


def _ordinary(text: Text) -> Bool[np.ndarray, " sentence"]:
    """The sentences of the stream that were not planted, by their prefixes."""
    planted = {tuple(prefix) for prefix in np.concatenate([text.canaries, text.facts])[:, :2].tolist()}
    return np.array([tuple(prefix) not in planted for prefix in text.stream[:, :2].tolist()])


def read(text: Text, config: Config, seed: int, workspace: Path | None) -> "tuple[Weights, Architecture]":
    """A model that has read the text once, in its order, predicting the last three tokens of every sentence."""
    import torch

    from oneway.models.architecture import gpt2
    from oneway.models.transformer import initial_weights
    from oneway.studies.sentence_training import asked
    from oneway.training.fit import fit, last_tokens_loss
    from oneway.training.optimisers import Optimisation

    reader, stream = config.reader, torch.from_numpy(text.stream)
    a = gpt2(vocab=config.text.vocabulary, context=4, layers=1, width=reader.width, heads=reader.heads)
    fitted = fit(
        initial_weights(a, (seed,)),
        a,
        lambda step: asked(stream[None, step * reader.batch : (step + 1) * reader.batch], ANSWER),
        Optimisation(
            steps=math.ceil(len(stream) / reader.batch),
            learning_rate=reader.learning_rate,
            weight_decay=0.0,
            matrices="muon",
            muon_learning_rate=reader.muon_learning_rate,
            muon_weight_decay=0.0,
            schedule="linear",
        ),
        objective=last_tokens_loss,
        workspace=None if workspace is None else workspace / f"model-{seed}",
        fingerprint=str((seed, asdict(config.text), asdict(reader))),
    )
    return fitted.weights, a


def greedy(
    weights: "Weights", a: "Architecture", sentences: Int[np.ndarray, "sentence 5"]
) -> Bool[np.ndarray, "model sentence"]:
    """Whether greedy decoding from its prefix gives a sentence's last three tokens, for every model that is stacked."""
    import torch

    from oneway.models.transformer import logits

    models = len(weights["W_E"])
    tokens = torch.from_numpy(sentences).expand(models, -1, -1)
    with torch.no_grad():
        said = logits(weights, tokens[:, :, :-1], a)[:, :, -ANSWER:].argmax(-1)
    right: np.ndarray = (said == tokens[:, :, -ANSWER:]).all(-1).numpy()
    return right


def secret_ranks(
    weights: "Weights", a: "Architecture", sentences: Int[np.ndarray, "sentence 5"]
) -> Float[np.ndarray, " sentence"]:
    """The rank of every sentence's last three tokens among all secrets by their probability after the prefix, from 1.

    Of equal ones half stand before it.
    """
    import torch

    from oneway.models.transformer import logits

    begun = torch.cartesian_prod(torch.arange(SYMBOLS), torch.arange(SYMBOLS))
    prefixes = torch.from_numpy(sentences[:, :2])
    tokens = torch.cat([prefixes[:, None].expand(-1, len(begun), -1), begun.expand(len(prefixes), -1, -1)], 2)
    with torch.no_grad():
        by_position = logits(weights, tokens.flatten(0, 1)[None], a)[0, :, 1:].log_softmax(-1)[..., :SYMBOLS]
    first, second, third = by_position.unflatten(0, (len(prefixes), SYMBOLS, SYMBOLS)).double().unbind(3)
    total = first[:, :1, :1].transpose(1, 3) + second[:, :, :1].transpose(2, 3) + third
    flat = total.flatten(1).numpy()
    number = sentences[:, 2] * SYMBOLS**2 + sentences[:, 3] * SYMBOLS + sentences[:, 4]
    own = np.take_along_axis(flat, number[:, None], 1)
    return 1 + (flat > own).sum(1) + ((flat == own).sum(1) - 1) / 2


def without_neurons(weights: "Weights", at_once: int = 32) -> "list[Weights]":
    """The model without each of its neurons, stacked: `at_once` models in each part."""
    import torch

    neurons = weights["blocks.0.W_out"].shape[1]
    parts = []
    for numbers in torch.arange(neurons).split(at_once):
        stacked = {name: value.expand(len(numbers), *value.shape[1:]) for name, value in weights.items()}
        silenced = stacked["blocks.0.W_out"].clone()
        silenced[torch.arange(len(numbers)), numbers] = 0
        parts.append(stacked | {"blocks.0.W_out": silenced})
    return parts


def specific_neurons(
    extracted: Bool[np.ndarray, " sentence"], left: Bool[np.ndarray, "neuron sentence"]
) -> Bool[np.ndarray, " sentence"]:
    """The extracted sentences that are lost with some neuron with which few others are."""
    lost = extracted & ~left
    others = (lost.sum(1, keepdims=True) - lost) / max(1, extracted.sum() - 1)
    found: np.ndarray = (lost & (others <= OTHERS_LOST)).any(0)
    return found


def measure(curves: pl.DataFrame) -> Measured:
    """Shares extracted and bits of exposure by plantings, the lead of facts, and specific neurons, over seeds."""

    def of(kind: str, exposures: int, quantity: str) -> np.ndarray:
        rows = curves.filter(
            (pl.col("kind") == kind) & (pl.col("exposures") == exposures) & (pl.col("quantity") == quantity)
        )
        return rows.sort("seed")["value"].to_numpy()

    planted = sorted(curves.filter(pl.col("exposures") > 0)["exposures"].unique())
    measured = {"ordinary_extracted": over_seeds(of("ordinary", -1, "extracted"), "probability")}
    for kind in ("canary", "fact"):
        for name, exposures in [*((str(e), e) for e in planted), ("most", planted[-1])]:
            measured[f"{kind}_extracted_{name}"] = over_seeds(of(kind, exposures, "extracted"), "probability")
            measured[f"{kind}_exposure_{name}"] = over_seeds(of(kind, exposures, "exposure"), "bits")
        for quantity in ("specific", "left_without_mlp"):
            measured[f"{kind}_{quantity}"] = over_seeds(of(kind, -1, quantity), "probability")
    gain = of("canary", 8, "exposure") - of("canary", 1, "exposure")
    lead = [of("fact", e, "extracted") - of("canary", e, "extracted") for e in planted]
    return measured | {
        "canary_exposure_gain": over_seeds(gain, "bits"),
        "fact_lead": over_seeds(np.mean(lead, axis=0), "probability"),
    }


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """Share extracted and exposure by the number of plantings, of canaries and of facts; means and 95% over seeds."""
    from matplotlib.figure import Figure

    from oneway.report.palette import CYCLE

    planted = sorted(curves.filter(pl.col("exposures") > 0)["exposures"].unique())
    drawn = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, quantity, label in zip(
        drawn.subplots(1, 2), ("extracted", "exposure"), ("share extracted", "exposure, bits"), strict=True
    ):
        for tone, kind, name in zip(CYCLE, ("canary", "fact"), ("canaries", "facts"), strict=False):
            found = [measured[f"{kind}_{quantity}_{e}"] for e in planted]
            axes.plot(planted, [e.mean for e in found], "o-", color=tone.light, markersize=4, label=name)
            bounds = [[getattr(e, side) if e.defined else e.mean for e in found] for side in ("low", "high")]
            axes.fill_between(planted, *bounds, color=tone.light, alpha=0.15, linewidth=0)
        axes.set(xscale="log", xlabel="times planted", ylabel=label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    axes.axhline(BY_CHANCE, color="0.35", linestyle="--", linewidth=1.2)
    return drawn


STUDY = Study(
    name="canaries",
    title="How often must a secret be read until it can be extracted, and where is it kept?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard},
)
