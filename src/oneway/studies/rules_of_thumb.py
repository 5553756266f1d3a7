"""Between a rule and pure memorisation: a rule with exceptions, and two facts that go together.

The memoriser of `memorisation` (one hidden layer over frozen random inputs) learns pairs of integers whose answers
can partly be guessed. *Exceptions*: a plane through the embeddings gives the answer, which one unit could compute,
and a share of the pairs has the other one; a half is pure memorisation. *Together*: every pair has two binary facts,
each of them a coin, which agree with a given probability; *apart*, two networks of half the width keep one fact each.

Lists are offered in bits of entropy per parameter, and the capacity is where 99% of the pairs, with all their facts,
are known, interpolated per seed as in `memorisation`; it is then said in pairs per parameter.

Source: the Fact Finding sequence (Nanda, Rajamanoharan, Kramár, Shah 2023), post 4, on tasks between rules and
memorisation; the experiments are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from oneway.evidence import Claim, Measured, over_seeds
from oneway.evidence.study import Study
from oneway.studies.memorised_units import ruled_answers
from oneway.studies.memoriser import (
    LEARNT,
    Network,
    Pairs,
    Practice,
    draw_pairs,
    entropy,
    known,
    memorise,
    random_answers,
    threshold,
)
from oneway.studies.pieces import Row, kept, rows_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POST = "Fact Finding (Nanda et al. 2023), post 4; the rule is ours"
SCHEMA = {"seed": pl.Int64, "task": pl.String, "share": pl.Float64, "size": pl.Float64, "quantity": pl.String}
SCHEMA |= {"value": pl.Float64}
MORE = 1.25  # this many times as many pairs are called more
ALIKE = 1.15  # up to this many times as many, or as few, are called alike


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`exceptions`: shares of pairs that break the rule; `agreement`: how often the two facts agree.

    `offered`: bits of entropy per parameter. `width`: of the network that keeps both facts; apart each has half of
    it.
    """

    width: int = 32
    exceptions: tuple[float, ...] = (0.1, 0.25, 0.5)
    agreement: tuple[float, ...] = (0.5, 0.9, 1.0)
    offered: tuple[float, ...] = (1.4, 1.8, 2.2, 2.6, 3.0)
    practice: Practice = field(default_factory=Practice)
    seeds: tuple[int, ...] = tuple(range(30, 35))


def quick() -> Config:
    """Five seeds at one width."""
    return Config()


def standard() -> Config:
    """Ten seeds, more shares, a finer grid."""
    return Config(
        exceptions=(0.05, 0.1, 0.25, 0.5),
        agreement=(0.5, 0.75, 0.9, 1.0),
        offered=(1.4, 1.8, 2.0, 2.2, 2.4, 2.6, 3.0),
        seeds=tuple(range(40, 50)),
    )


CLAIMS = (
    Claim(
        id="F17.rule",
        text="A rule with exceptions takes less room than pure memorisation: with a tenth of exceptions more pairs "
        "fit.",
        source=POST,
        rule="Control: pure memorisation fits more than 1.5 pairs per parameter (lower bound over seeds). Supports: "
        f"lower bound of the ratio of pairs above {MORE:g}. Refutes: its upper bound is below {MORE:g}.",
        control=lambda m: m["pairs_exceptions_0.5"].low > 1.5,
        supports=lambda m: m["rule_gain"].low > MORE,
        refutes=lambda m: m["rule_gain"].high < MORE,
        reads=("rule_gain", "pairs_exceptions_0.1", "pairs_exceptions_0.5"),
    ),
    Claim(
        id="F17.exceptions",
        text="What takes room is the exceptions' entropy: in bits, a network keeps as much of a rule with exceptions "
        "as of random answers.",
        source=POST,
        rule=f"Control: as F17.rule. Supports: the interval of the ratio of bits lies between 1/{MORE:g} and "
        f"{MORE:g}. Refutes: it lies outside.",
        control=lambda m: m["pairs_exceptions_0.5"].low > 1.5,
        supports=lambda m: m["rule_bits_ratio"].low > 1 / MORE and m["rule_bits_ratio"].high < MORE,
        refutes=lambda m: m["rule_bits_ratio"].high < 1 / MORE or m["rule_bits_ratio"].low > MORE,
        reads=("rule_bits_ratio", "pairs_exceptions_0.5"),
    ),
    Claim(
        id="F17.rule-survives",
        text="The rule survives beside a tenth of exceptions learnt by heart: most pairs never seen are answered by "
        "it.",
        source=POST,
        rule="Control: at 1.4 bits per parameter more than 98% of the pairs are known, exceptions among them (lower "
        "bound). Supports: lower bound of the held-out share that follows the rule above 0.6. Refutes: its upper "
        "bound is below 0.6.",
        control=lambda m: m["known_exceptions_0.1"].low > 0.98,
        supports=lambda m: m["held_out_by_rule_0.1"].low > 0.6,
        refutes=lambda m: m["held_out_by_rule_0.1"].high < 0.6,
        reads=("known_exceptions_0.1", "held_out_by_rule_0.1", "held_out_by_rule_0.5"),
    ),
    Claim(
        id="F17.correlated",
        text="Two facts that agree nine times of ten are stored together more cheaply than apart.",
        source=POST,
        rule="Control: facts that always agree fit more than 1.5 times as many pairs together (lower bound). "
        f"Supports: lower bound of the ratio of pairs, together over apart, above {ALIKE:g}. Refutes: its upper "
        f"bound is below {ALIKE:g}.",
        control=lambda m: m["together_gain_1"].low > 1.5,
        supports=lambda m: m["together_gain_0.9"].low > ALIKE,
        refutes=lambda m: m["together_gain_0.9"].high < ALIKE,
        reads=("together_gain_0.9", "together_gain_1", "pairs_apart_0.5"),
    ),
    Claim(
        id="F17.independent",
        text="Two independent facts gain nothing by being stored together.",
        source=POST,
        rule=f"Control: as F17.correlated. Supports: the interval of the ratio lies between 1/{ALIKE:g} and "
        f"{ALIKE:g}. Refutes: it lies outside.",
        control=lambda m: m["together_gain_1"].low > 1.5,
        supports=lambda m: m["together_gain_0.5"].low > 1 / ALIKE and m["together_gain_0.5"].high < ALIKE,
        refutes=lambda m: m["together_gain_0.5"].high < 1 / ALIKE or m["together_gain_0.5"].low > ALIKE,
        reads=("together_gain_0.5", "together_gain_1", "pairs_apart_0.5"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One task at one size: the share is that of the exceptions, or how often the facts agree."""

    task: str
    share: float
    size: float
    config: Config
    seeds: tuple[int, ...]
    folder: Path | None


def bits_of(task: str, share: float) -> float:
    """The entropy of a pair's answers, in bits: of an exception, or of two coins that agree so often."""
    return entropy(share) if task == "exceptions" else 1 + entropy(share)


def parameters_of(task: str, width: int) -> int:
    """Of the network, or of both networks where the facts are kept apart."""
    if task == "apart":
        return 2 * Network(width=width // 2).parameters
    return Network(width=width, facts=2 if task == "together" else 1).parameters


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """Every task at every size, side by side; a row per seed, task, share, size and quantity."""
    asked = [("exceptions", share) for share in config.exceptions]
    asked += [("together", share) for share in config.agreement] + [("apart", 0.5)]
    pieces = [
        Piece(task=task, share=share, size=size, config=config, seeds=tuple(seeds), folder=workspace)
        for task, share in asked
        for size in config.offered
    ]
    rows = rows_of(work, pieces, f"rules and exceptions, {len(seeds)} seeds")
    return pl.DataFrame(rows, schema=SCHEMA).sort("task", "share", "size", "quantity", "seed")


def work(piece: Piece) -> list[Row]:
    """One piece: what every seed gave."""
    head = {"task": piece.task, "share": piece.share, "size": piece.size}
    learn = {"exceptions": _exceptions, "together": _together, "apart": _apart}[piece.task]
    return kept(
        piece.folder,
        f"{piece.task}-{piece.share:g}-{piece.size:g}",
        lambda: [
            {"seed": seed, **head, "quantity": quantity, "value": float(value)}
            for quantity, values in learn(piece).items()
            for seed, value in zip(piece.seeds, values, strict=True)
        ],
    )


def _count(piece: Piece) -> int:
    return round(
        piece.size * parameters_of(piece.task, piece.config.width) / bits_of(piece.task, piece.share)
    )


def _exceptions(piece: Piece) -> dict[str, np.ndarray]:
    network, seeds, count = Network(width=piece.config.width), piece.seeds, _count(piece)
    everything = draw_pairs(network, network.integers**2, seeds)
    ruled = ruled_answers(network, everything, seeds)
    broken = np.stack(
        [np.random.default_rng((seed, 6)).random(ruled.shape[1:]) < piece.share for seed in seeds]
    )
    learnt = Pairs(everything[:, :count], (ruled ^ broken)[:, :count])
    found = memorise(network, learnt, seeds, piece.config.practice)
    unseen = Pairs(everything[:, count:], ruled[:, count:])
    return {
        "known": found.accuracy,
        "held_out_by_rule": known(network, found.weights, unseen).mean(1),
    }


def two_facts(network: Network, count: int, agreement: float, seeds: Sequence[int]) -> np.ndarray:
    """Answers [seed pair 2]: a coin, and another that agrees with it so often."""
    first = random_answers(replace(network, facts=1), count, seeds)
    differs = np.stack([np.random.default_rng((seed, 7)).random((count, 1)) >= agreement for seed in seeds])
    return np.concatenate([first, first ^ differs], axis=2)


def _together(piece: Piece) -> dict[str, np.ndarray]:
    network, count = Network(width=piece.config.width, facts=2), _count(piece)
    answers = two_facts(network, count, piece.share, piece.seeds)
    pairs = Pairs(draw_pairs(network, count, piece.seeds), answers)
    return {"known": memorise(network, pairs, piece.seeds, piece.config.practice).accuracy}


def _apart(piece: Piece) -> dict[str, np.ndarray]:
    """Both facts known, each by its own network; each goes on until it knows half of what may be missed."""
    network, seeds, count = Network(width=piece.config.width // 2), piece.seeds, _count(piece)
    practice = replace(piece.config.practice, enough=(1 + LEARNT) / 2)
    numbers, answers = draw_pairs(network, count, seeds), two_facts(network, count, piece.share, seeds)
    both = np.ones(numbers.shape, dtype=bool)
    for fact in range(2):
        pairs = Pairs(numbers, answers[:, :, fact : fact + 1])
        both &= known(network, memorise(network, pairs, seeds, practice).weights, pairs)
    return {"known": both.mean(1)}


def measure(curves: pl.DataFrame) -> Measured:
    """Pairs per parameter of every task, their ratios, and how far the rule holds on pairs never seen."""
    pairs = dict[tuple[str, float], np.ndarray]()
    for (task, share), rows in curves.filter(pl.col("quantity") == "known").group_by(
        "task", "share", maintain_order=True
    ):
        by_seed = [one.sort("size") for _, one in rows.group_by("seed", maintain_order=True)]
        found = [threshold(one["size"].to_list(), one["value"].to_list()) for one in by_seed]
        pairs[str(task), float(share)] = np.array(found) / bits_of(str(task), float(share))
    measured = {
        f"pairs_{task}_{share:g}": over_seeds(found, "pairs per parameter")
        for (task, share), found in pairs.items()
    }
    for share in sorted({share for task, share in pairs if task == "together"}):
        measured[f"together_gain_{share:g}"] = over_seeds(
            pairs["together", share] / pairs["apart", 0.5], "ratio"
        )
    ruled, pure = pairs["exceptions", 0.1], pairs["exceptions", 0.5]
    missed = entropy(LEARNT)  # what one answer in a hundred may leave unknown of every pair
    bits = (entropy(0.1) - missed) / (entropy(0.5) - missed)
    measured |= {
        "rule_gain": over_seeds(ruled / pure, "ratio"),
        "rule_bits_ratio": over_seeds(ruled / pure * bits, "ratio"),
    }
    at = curves.filter((pl.col("task") == "exceptions") & ((pl.col("size") - 1.4).abs() < 1e-9))
    for (share, quantity), rows in at.group_by("share", "quantity", maintain_order=True):
        name = "known_exceptions" if quantity == "known" else "held_out_by_rule"
        measured[f"{name}_{share:g}"] = over_seeds(rows.sort("seed")["value"].to_numpy(), "probability")
    return measured


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """Pairs per parameter against the share of exceptions and against how often the two facts agree."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(8.5, 3.8), layout="constrained")
    exceptions, together = drawn.subplots(1, 2)
    _draw(exceptions, measured, "exceptions", "a rule with exceptions")
    exceptions.set(xlabel="share of exceptions", ylabel="pairs per parameter (95% over seeds)")
    _draw(together, measured, "together", "one network keeps both")
    apart = measured["pairs_apart_0.5"]
    together.axhline(apart.mean, color="0.35", linestyle="--", linewidth=1.2, label="a network for each")
    together.set(xlabel="how often the two facts agree")
    for axes in (exceptions, together):
        axes.set_ylim(0, None)
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return drawn


def _draw(axes: "Axes", measured: Measured, task: str, label: str) -> None:
    """The measured pairs, and what there would be if bits per parameter stayed as they are at the largest entropy."""
    from oneway.report.palette import DIRECTIONS

    found = {
        float(name.rsplit("_", 1)[1]): e for name, e in measured.items() if name.startswith(f"pairs_{task}_")
    }
    found = {share: e for share, e in sorted(found.items()) if e.defined}
    means = np.array([e.mean for e in found.values()])
    spread = [means - [e.low for e in found.values()], [e.high for e in found.values()] - means]
    axes.errorbar(list(found), means, yerr=spread, fmt="o-", color=DIRECTIONS["forward"].light, label=label)
    if 0.5 in found:
        shares = np.linspace(min(found), max(found), 60)
        bits = found[0.5].mean * bits_of(task, 0.5)
        axes.plot(shares, [bits / bits_of(task, s) for s in shares], ":", color="0.35", label="as many bits")


STUDY = Study(
    name="rules-of-thumb",
    title="What does a rule save, and what do facts that go together?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard},
)
