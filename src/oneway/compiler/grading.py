"""Scores a method that looks for circuits against a circuit that is known."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from oneway.compiler.manifest import Manifest, read_manifest

_PARTS = ("heads", "neurons", "directions", "importance")
_HIDDEN = ("constant", "balance")  # what LayerNorm needs is no part of a direction


@dataclass(frozen=True, slots=True)
class UnitGrade:
    """How well scores tell planted units from the others.

    `auc`: the probability that a planted unit has a higher score than another one, ties counting half.
    `average_precision`: the mean precision at each planted unit, in the order of scores. `precision_at_planted`: the
    share of planted units among as many best-scored ones as were planted. `auc_against_decoys`: `auc` among planted
    units and decoys alone, None where there are none.
    """

    auc: float
    average_precision: float
    precision_at_planted: float
    planted: int
    units: int
    auc_against_decoys: float | None


@dataclass(frozen=True, slots=True)
class DirectionGrade:
    """Cosines of found directions with the true ones: their mean and the share of at least 0.9."""

    mean_cosine: float
    share_found: float
    graded: int
    true: int


@dataclass(frozen=True, slots=True)
class ImportanceGrade:
    """How effects of neurons on facts agree with the truth, over all pairs that were given.

    The truth is by how many nats the fact's margin falls without the neuron where the manifest says that, else 1 for
    the neuron's own facts and 0 for others. `correlation` is Pearson's, `rank_correlation` Spearman's; `auc` as for
    units, of pairs that matter (the fact is lost) against those that do not; `share_covered`: how many of the pairs
    that matter were given.
    """

    correlation: float
    rank_correlation: float
    auc: float
    share_covered: float
    pairs: int


@dataclass(frozen=True, slots=True)
class Grade:
    """The scores of each part that was handed in; None for the others."""

    heads: UnitGrade | None = None
    neurons: UnitGrade | None = None
    directions: DirectionGrade | None = None
    importance: ImportanceGrade | None = None

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def grade(found: Mapping[str, Any] | str | Path, circuit: str | Path) -> Grade:
    """Score what a method found in a compiled checkpoint.

    `found` is a mapping, or a JSON file of one, with any of

        heads       [{"layer", "head", "score"}, …]
        neurons     [{"layer", "neuron", "score"}, …]
        directions  {"output | ▁Mary": [d_model numbers], …}
        importance  [{"layer", "neuron", "fact", "effect"}, …]

    Higher scores say "part of the circuit"; units that are not listed rank below all that are. A direction is
    compared by its cosine without the dimensions that are only there for LayerNorm. `effect` is how much worse the fact
    (its row in the manifest) gets without the neuron, in any unit. `circuit` is the checkpoint's folder or manifest.

    Raises ValueError where something is not of this form, or names a unit, fact or direction that the model lacks.
    """
    manifest = read_manifest(circuit)
    content = found if isinstance(found, Mapping) else _read(Path(found))
    unknown = set(content) - set(_PARTS)
    if unknown or not content:
        raise ValueError(
            f"a finding has some of {', '.join(_PARTS)}, not {', '.join(map(repr, unknown)) or 'nothing'}"
        )
    return Grade(
        heads=_units(content["heads"], "head", manifest) if "heads" in content else None,
        neurons=_units(content["neurons"], "neuron", manifest) if "neurons" in content else None,
        directions=_directions(content["directions"], manifest) if "directions" in content else None,
        importance=_importance(content["importance"], manifest) if "importance" in content else None,
    )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a JSON object")
    return content


def _units(rows: Sequence[Mapping[str, Any]], kind: str, manifest: Manifest) -> UnitGrade:
    shape = manifest.shape("layers"), manifest.shape("heads" if kind == "head" else "d_mlp")
    planted, decoys = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for unit in manifest.heads if kind == "head" else manifest.neurons:
        of = decoys if unit["role"] == "decoy" else planted
        of[unit["layer"], unit[kind]] = True
    scores = np.full(shape, -np.inf)
    for row in rows:
        scores[_unit(row, kind, shape)] = _number(row, "score")
    at, true = scores.ravel(), planted.ravel()
    best = np.argsort(-at, kind="stable")[: true.sum()]
    told = true | decoys.ravel()
    return UnitGrade(
        auc=_auc(at, true),
        average_precision=_average_precision(at, true),
        precision_at_planted=float((true[best] & np.isfinite(at[best])).mean()),
        planted=int(true.sum()),
        units=true.size,
        auc_against_decoys=_auc(at[told], true[told]) if decoys.any() else None,
    )


def _directions(rows: Mapping[str, Sequence[float]], manifest: Manifest) -> DirectionGrade:
    if not rows:
        raise ValueError("no direction was handed in")
    width = manifest.shape("d_model")
    seen = np.ones(width, dtype=bool)
    for name in _HIDDEN:
        place = manifest.content["subspaces"][name]
        seen[place["start"] : place["start"] + place["width"]] = False
    cosines = []
    for name, vector in rows.items():
        given = np.asarray(vector, dtype=np.float64)
        if given.shape != (width,) or not np.isfinite(given).all():
            raise ValueError(f"direction {name!r} must be {width} finite numbers, one for each dimension")
        given = given * seen
        size = np.linalg.norm(given)
        cosines.append(float(given @ manifest.direction(name) / size) if size else 0.0)
    true = sum(1 for _ in manifest.direction_names())
    return DirectionGrade(
        float(np.mean(cosines)), float(np.mean(np.array(cosines) >= 0.9)), len(cosines), true
    )


def _importance(rows: Sequence[Mapping[str, Any]], manifest: Manifest) -> ImportanceGrade:
    from scipy import stats

    shape = manifest.shape("layers"), manifest.shape("d_mlp")
    facts = len(manifest.content["facts"])
    true = {(n["layer"], n["neuron"], fact) for n in manifest.neurons for fact in n["facts"]}
    worth = {(n["layer"], n["neuron"]): n["effects"] for n in manifest.neurons if "effects" in n}
    effects: dict[tuple[int, int, int], float] = {}
    for row in rows:
        fact = row.get("fact")
        if not isinstance(fact, int) or not 0 <= fact < facts:
            raise ValueError(f"fact {fact!r} is not a row of the manifest, which has {facts:,}")
        effects[*_unit(row, "neuron", shape), fact] = _number(row, "effect")
    if len(effects) < 2:
        raise ValueError("importance needs at least two pairs of a neuron and a fact")
    given = np.array(list(effects.values()))
    matters = np.array([pair in true for pair in effects])
    truth = np.array(
        [
            worth[at][fact] if (at := (layer, n)) in worth else (layer, n, fact) in true
            for layer, n, fact in effects
        ],
        dtype=float,
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        same = np.ptp(truth) == 0 or np.ptp(given) == 0
        pearson = np.nan if same else float(np.corrcoef(given, truth)[0, 1])
        spearman = np.nan if same else float(stats.spearmanr(given, truth).statistic)
    covered = sum(pair in effects for pair in true) / len(true) if true else float("nan")
    return ImportanceGrade(pearson, spearman, _auc(given, matters), covered, len(effects))


def _unit(row: Mapping[str, Any], kind: str, shape: tuple[int, int]) -> tuple[int, int]:
    layer, unit = row.get("layer"), row.get(kind)
    if not isinstance(layer, int) or not isinstance(unit, int):
        raise ValueError(f"{dict(row)!r} must name a layer and a {kind} by whole numbers")
    if not (0 <= layer < shape[0] and 0 <= unit < shape[1]):
        raise ValueError(
            f"there is no {kind} {unit} in layer {layer}: the model has {shape[0]} layers of {shape[1]}"
        )
    return layer, unit


def _number(row: Mapping[str, Any], key: str) -> float:
    value = row.get(key)
    if not isinstance(value, int | float) or not np.isfinite(value):
        raise ValueError(f"{dict(row)!r} must have a finite {key}")
    return float(value)


def _auc(scores: Float[np.ndarray, " n"], true: Bool[np.ndarray, " n"]) -> float:
    """The probability that a true one has the higher score, ties counting half; NaN without both kinds."""
    from scipy.stats import rankdata

    positive, negative = int(true.sum()), int((~true).sum())
    if not positive or not negative:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[true].sum() - positive * (positive + 1) / 2) / (positive * negative))


def _average_precision(scores: Float[np.ndarray, " n"], true: Bool[np.ndarray, " n"]) -> float:
    """Σ (recall step × precision) over falling thresholds; units of one score enter together."""
    order = np.argsort(-scores, kind="stable")
    sorted_scores, hits = scores[order], np.cumsum(true[order])
    last = np.append(sorted_scores[1:] != sorted_scores[:-1], True)
    counted = hits[last]
    precision = counted / (np.flatnonzero(last) + 1)
    return float((np.diff(counted, prepend=0) * precision).sum() / max(int(true.sum()), 1))
