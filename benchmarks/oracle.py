"""Is what the anatomy finds what was planted? Compiled models of every mechanism, at least half of their units decoys.

    python benchmarks/oracle.py --calibrate      seeds 0–19: where the constants of found.py and hypotheses.py are from
    python benchmarks/oracle.py                  seeds 100–119, 100 models: the bars
    python benchmarks/oracle.py --seeds 102 103  some of the seeds

A line a model is appended to the file, and a model that has one is not made again: killed at any moment the same call
continues. Both architectures (by parity of the seed), half of the models with noise: the most of `NOISE` that the
compiler takes, which refuses what costs more than 1% of the recall. Tables are people who share first names and
surnames, with a sport, a birthplace and a club of two words each, about 300 facts; calibration has smaller ones with a
sport and a club alone. `attention-lookup` takes one relation, the sport.

Heads and neurons: `find_circuit` on all facts (where facts are superposed, on 16 of each relation), against the
manifest. Importance, where facts are superposed: the rank correlation of neurons' effects with plain ablation, by
forward hooks on the Hugging Face model, for a sample of the neurons that were found and all facts that were asked;
beside it, the one with the manifest's effects, which are those of the model before noise. Both compute in float64, and
to 8 decimals: most effects are nothing, and rounding would rank those. Hypotheses: the verdict by all relations
together; right is one whose best mechanism is the planted one, which survives while the other three are rejected.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from scipy import stats
from transformers import AutoModelForCausalLM, PreTrainedModel

from oneway.anatomy.asked import Asked, ask
from oneway.anatomy.found import Found, Kind, find_circuit
from oneway.anatomy.hypotheses import (
    ATTENTION,
    LEVELS,
    MECHANISMS,
    MULTI_TOKEN,
    PARTIAL_HASH,
    PREDICTED,
    PURE_HASH,
    SINGLE_STEP,
    Hypothesis,
    pooled,
    signature,
    verdicts,
)
from oneway.compiler import Capacity, CompileError, Manifest, compile_table, grade, read_manifest
from oneway.compiler.build import Kind as Architecture
from oneway.compiler.build import Mechanism
from oneway.engine import Engine, open_model
from oneway.evidence.record import hardware
from oneway.facts import Fact, FactTable, Relation
from oneway.facts.names import invented_words
from oneway.report.progress import progress

PLANTED: dict[Mechanism, Hypothesis] = {
    "neuron-per-fact": SINGLE_STEP,
    "single-step": SINGLE_STEP,
    "hash-and-lookup": PURE_HASH,
    "partial-hash": PARTIAL_HASH,
    "attention-lookup": ATTENTION,
}
SUPERPOSED = ("single-step", "hash-and-lookup", "partial-hash")
LITTLE = (0.0003, 0.0001, 0.00003)  # of noise, where the error of one neuron is that of many facts
NOISE: dict[Mechanism, tuple[float, ...]] = {
    "neuron-per-fact": (0.005, 0.002, *LITTLE),
    "single-step": LITTLE,
    "hash-and-lookup": LITTLE,
    "partial-hash": LITTLE,
    "attention-lookup": (0.005, 0.002, *LITTLE),
}
KINDS: tuple[Kind, ...] = ("head", "neuron")
MEASURED = Path(__file__).parents[1] / "docs" / "measured"
DECIMALS = 8  # of nats
HOOKED = 24  # neurons that are taken out by hooks, too
SAMPLE = 16  # facts of a relation, where every neuron knows something of every fact
POSITIONS = 128
SPORTS = ("baseball", "basketball", "football")
CLUBS = tuple(
    f"{colour} {animal}"
    for colour in ("Red", "Blue", "Golden", "Silver")
    for animal in ("Wolves", "Bears", "Hawks", "Lions")
)
TEMPLATES = {
    "plays_sport": "{subject} plays the sport of {object}",
    "born_in": "{subject} was born in {object}",
    "plays_for": "{subject} plays for the {object}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """How large tables are: least and most facts, first names, surnames; and the relations."""

    facts: tuple[int, int]
    firsts: tuple[int, int]
    lasts: tuple[int, int]
    relations: tuple[str, ...]

    def table(self, seed: int, mechanism: Mechanism) -> FactTable:
        """People drawn from first names × surnames, every attribute at random."""
        rng = np.random.default_rng(seed)
        count, firsts, lasts, towns = (
            int(rng.integers(low, high + 1)) for low, high in (self.facts, self.firsts, self.lasts, (6, 10))
        )
        words = invented_words(firsts + lasts + towns, rng)
        values = {"plays_sport": SPORTS, "born_in": words[firsts + lasts :], "plays_for": CLUBS}
        names = self.relations[:1] if mechanism == "attention-lookup" else self.relations
        drawn = rng.choice(firsts * lasts, size=count // len(names), replace=False)
        people = [f"{words[at // lasts]} {words[firsts + at % lasts]}" for at in drawn.tolist()]
        facts = tuple(
            Fact(person, name, values[name][int(rng.integers(len(values[name])))])
            for person in people
            for name in names
        )
        return FactTable(facts, {name: Relation(name, (TEMPLATES[name],)) for name in names})


CALIBRATION = World(facts=(160, 240), firsts=(12, 20), lasts=(24, 36), relations=("plays_sport", "plays_for"))
TEST = World(facts=(250, 350), firsts=(20, 30), lasts=(30, 50), relations=tuple(TEMPLATES))


def planted_with_noise(
    table: FactTable,
    folder: Path,
    mechanism: Mechanism,
    architecture: Architecture,
    seed: int,
    levels: Iterable[float],
) -> float:
    """Compile, with a decoy for every planted unit and the first level of noise that leaves 99% of the recall.

    Says which level.
    """
    refused = None
    for noise in levels:
        capacity = Capacity(positions=POSITIONS, seed=seed, noise=noise, decoys=1)
        try:
            compile_table(table, folder, mechanism, architecture, capacity=capacity)
            return noise
        except CompileError as error:
            refused = error
    assert refused is not None
    raise refused


def after_the_answer(asked: Asked, end: int) -> Asked:
    """The question that comes after an answer's last token: END is right."""
    tokens = torch.cat((asked.tokens, asked.right_token[:, None]), dim=1)
    return replace(
        asked,
        tokens=tokens,
        answers=torch.tensor([end]),
        labels=("END",),
        right=torch.zeros_like(asked.right),
    )


def questions(engine: Engine, table: FactTable, mechanism: Mechanism) -> tuple[list[Asked], list[Asked]]:
    """For the first tokens of the answers and for later ones, and for END where the manifest counts it."""
    tokenizer = engine.tokenizer
    assert tokenizer is not None
    first, later = [], []
    for name in table.relations:
        (asked,) = ask(tokenizer, table, name).groups
        some = range(SAMPLE) if mechanism in SUPERPOSED else range(len(asked))
        asked = asked.only(some)
        first.append(asked)
        if name == "plays_for":
            (asked,) = ask(tokenizer, table, name, said=1).groups
            asked = asked.only(some)
            later.append(asked)
        if mechanism in SUPERPOSED:
            later.append(after_the_answer(asked, tokenizer.eos_token_id))
    return first, later


def by_hooks(folder: Path, found: Found, prompts: Sequence[Asked], seed: int) -> dict[str, float]:
    """How a sample of `found.importance` agrees with ablation by forward hooks on the plain model, in float64.

    Ranks are of effects to `DECIMALS`: both ways differ by 1e-10 nats, which would rank effects that are exactly zero.
    """
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    units = sorted(found.units("neuron"))
    drawn = np.random.default_rng(seed).permutation(len(units))[:HOOKED]
    clean = least_leads(model, prompts, None)
    plain = {
        (*units[at], *fact): clean[fact] - lead
        for at in drawn.tolist()
        for fact, lead in least_leads(model, prompts, units[at]).items()
    }
    told = {tuple(pair): effect for *pair, effect in found.importance.iter_rows()}
    both = np.array([(told[pair], effect) for pair, effect in plain.items()]).reshape(-1, 2)
    return {
        "ablation_rank_correlation": float(stats.spearmanr(both.round(DECIMALS)).statistic),
        "ablation_correlation": float(np.corrcoef(both.T)[0, 1]),
        "ablation_largest_difference": float(np.abs(both[:, 0] - both[:, 1]).max()),
        "ablation_largest": float(np.abs(both[:, 1]).max()),
        "ablation_pairs": len(both),
        "ablation_units": len(drawn),
    }


@torch.inference_mode()
def least_leads(
    model: PreTrainedModel, prompts: Sequence[Asked], unit: tuple[int, int] | None
) -> dict[tuple[str, str, str], float]:
    """Of every fact the least lead over its prompts, in nats, without a neuron (layer and number), or with all."""
    hook = None
    if unit is not None:
        place = {"gpt2": "transformer.h.{}.mlp.c_proj", "gpt_neox": "gpt_neox.layers.{}.mlp.dense_4h_to_h"}
        writes = model.get_submodule(place[model.config.model_type].format(unit[0]))

        def silence(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            (fired,) = inputs
            return (fired.index_fill(-1, torch.tensor([unit[1]]), 0.0),)

        hook = writes.register_forward_pre_hook(silence)
    least: dict[tuple[str, str, str], float] = {}
    for asked in prompts:
        logits = model(input_ids=asked.tokens, use_cache=False).logits[:, -1]
        right = asked.right_token[:, None]
        leads = logits.gather(1, right)[:, 0] - logits.scatter(1, right, -torch.inf).amax(1)
        for fact, lead in zip(asked.facts, leads.tolist(), strict=True):
            told = (fact.subject, fact.relation, fact.object)
            least[told] = min(lead, least.get(told, lead))
    if hook is not None:
        hook.remove()
    return least


def scored(found: Found, manifest: Manifest, kind: Kind) -> dict[str, float]:
    """Precision and recall of heads or neurons, and the shares on either side of the threshold."""
    units = manifest.heads if kind == "head" else manifest.neurons
    true = {(u["layer"], u[kind]) for u in units if u["role"] != "decoy"}
    decoys = {(u["layer"], u[kind]) for u in units if u["role"] == "decoy"}
    rows = (found.heads if kind == "head" else found.neurons).iter_rows(named=True)
    shares = {(row["layer"], row[kind]): max(row["first"], row["later"]) for row in rows}
    told = found.units(kind)
    return {
        f"{kind}s_planted": len(true),
        f"{kind}s_decoys": len(decoys),
        f"{kind}s_precision": len(told & true) / len(told) if told else 0.0,
        f"{kind}s_recall": len(told & true) / len(true),
        f"{kind}s_least_planted": min(shares.get(unit, 0.0) for unit in true),
        f"{kind}s_most_other": max(
            (share for unit, share in shares.items() if unit not in true), default=0.0
        ),
    }


def judged(engine: Engine, table: FactTable, found: Found, mechanism: Mechanism) -> dict[str, Any]:
    """The verdict by all relations together, and the signature."""
    assert engine.tokenizer is not None
    asked = [ask(engine.tokenizer, table, name).groups[0] for name in table.relations]
    effects = found.by_entity()
    own = pooled([signature(engine, one, effects=effects) for one in asked])
    verdict, right = verdicts(own), PLANTED[mechanism]
    rejected = all(verdict.outcomes[one] == "rejected" for one in MECHANISMS if one != right)
    return {
        "best": verdict.best,
        "best_right": verdict.best == right,
        "verdict_right": verdict.best == right and verdict.outcomes[right] == "survives" and rejected,
        "outcomes": verdict.outcomes,
        "signature": {test: [one.mean, one.low, one.high] for test, one in own.items()},
    }


def measured(mechanism: Mechanism, seed: int, world: World) -> dict[str, Any]:
    """One model: compiled, opened, its circuit looked for and graded, its mechanism judged."""
    architecture: Architecture = ("gpt2", "neox")[seed % 2]
    table = world.table(seed, mechanism)
    start, cpu = time.perf_counter(), time.process_time()
    with TemporaryDirectory() as place:
        folder = Path(place) / "model"
        levels = NOISE[mechanism] if seed // 2 % 2 else (0.0,)
        noise = planted_with_noise(table, folder, mechanism, architecture, seed, levels)
        compiled = time.perf_counter() - start
        engine = open_model(folder, device="cpu", precision="float64")
        assert isinstance(engine, Engine)
        manifest = read_manifest(folder)
        first, later = questions(engine, table, mechanism)
        found = find_circuit(engine, first, later)
        agreement = by_hooks(folder, found, [*first, *later], seed) if mechanism in SUPERPOSED else {}
        graded = grade(found.to_grade(table), folder)
    looked = time.perf_counter() - start - compiled
    movers = {(u["layer"], u["head"]) for u in manifest.heads if u["role"] == "next-output"}
    importance, neurons, heads = graded.importance, graded.neurons, graded.heads
    assert importance is not None
    assert neurons is not None
    assert heads is not None
    return {
        "mechanism": mechanism,
        "seed": seed,
        "architecture": architecture,
        "noise": noise,
        "facts": len(table),
        "names": len({fact.subject for fact in table}),
        **scored(found, manifest, "head"),
        **scored(found, manifest, "neuron"),
        "heads_auc": heads.auc,
        "neurons_auc": neurons.auc,
        "manifest_rank_correlation": importance.rank_correlation,
        "manifest_correlation": importance.correlation,
        **agreement,
        "movers_found": set(found.next_output_movers()) == movers,
        "movers": len(movers),
        **judged(engine, table, found, mechanism),
        "compile_seconds": round(compiled, 1),
        "find_seconds": round(looked, 1),
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "hardware": hardware(),
    }


def run(seeds: Sequence[int], world: World, out: Path) -> list[dict[str, Any]]:
    """A line a model, those that the file has already left as they are."""
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    rows = [json.loads(line) for line in lines]
    have = {(row["mechanism"], row["seed"]) for row in rows}
    wanted = [(mechanism, seed) for seed in seeds for mechanism in PLANTED]
    missing = [one for one in wanted if one not in have]
    with progress("models") as advance:
        for mechanism, seed in missing:
            advance(len(wanted) - len(missing) + missing.index((mechanism, seed)), len(wanted))
            row = measured(mechanism, seed, world)
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, allow_nan=True) + "\n")
            rows.append(row)
    return [row for row in rows if (row["mechanism"], row["seed"]) in set(wanted)]


def calibrated(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The midpoints between groups of models: of the tests, and (geometric) of the share that makes a unit found.

    On one side of a test are the models of which it is predicted to be above, on the other all that have it besides.
    There is no midpoint where they are not apart.
    """
    planted = min(
        r[f"{k}s_least_planted"] for r in rows if r["mechanism"] == "neuron-per-fact" for k in KINDS
    )
    other = max(r[f"{k}s_most_other"] for r in rows for k in KINDS)
    told = {"share": {"planted": planted, "others": other, "midpoint": (planted * other) ** 0.5}}
    for test in LEVELS:
        sides: dict[bool, list[float]] = {True: [], False: []}
        for row in rows:
            held = [PLANTED[row["mechanism"]]] + [MULTI_TOKEN] * (row["mechanism"] != "attention-lookup")
            above = any(PREDICTED[hypothesis].get(test, False) for hypothesis in held)
            if test in row["signature"]:
                sides[above].append(row["signature"][test][0])
        low, high = max(sides[False], default=None), min(sides[True], default=None)
        apart = low is not None and high is not None and low < high
        told[test] = {"below": low, "above": high, "midpoint": (low + high) / 2 if apart else None}
    return told


def bars(rows: Sequence[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """What is measured, and the least that is asked for."""

    def least(names: Sequence[str], mechanisms: Sequence[str], noisy: bool) -> float:
        own = [r for r in rows if r["mechanism"] in mechanisms and bool(r["noise"]) == noisy]
        return min((r[name] for r in own for name in names), default=float("nan"))

    units = [f"{kind}s_{score}" for kind in KINDS for score in ("precision", "recall")]
    return {
        "precision and recall, neuron-per-fact": (least(units, ["neuron-per-fact"], False), 1.0),
        "precision and recall, with noise": (least(units, ["neuron-per-fact"], True), 0.95),
        "rank correlation, superposed": (least(["ablation_rank_correlation"], SUPERPOSED, False), 0.95),
        "rank correlation, superposed, with noise": (
            least(["ablation_rank_correlation"], SUPERPOSED, True),
            0.95,
        ),
        "verdicts right": (float(np.mean([row["verdict_right"] for row in rows])), 0.95),
        "movers found": (float(np.mean([row["movers_found"] for row in rows if row["movers"]])), 1.0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calibrate", action="store_true", help="the seeds 0–19")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: 100–119, or 0–19")
    parser.add_argument(
        "--out", type=Path, help="default: docs/measured/oracle.jsonl, or oracle-calibration.jsonl"
    )
    options = parser.parse_args()
    name = "oracle-calibration" if options.calibrate else "oracle"
    out = options.out or MEASURED / f"{name}.jsonl"
    seeds = options.seeds or (range(20) if options.calibrate else range(100, 120))
    rows = run(seeds, CALIBRATION if options.calibrate else TEST, out)
    if options.calibrate:
        for what, told in calibrated(rows).items():
            print(f"{what:22}", json.dumps(told))
        return
    failed = False
    print(f"{len(rows)} models in {sum(row['seconds'] for row in rows) / 60:.0f} minutes of one process")
    for what, (value, asked) in bars(rows).items():
        failed |= not value >= asked
        print(f"{what:40} {value:.4f}  (asked: {asked})")
    for row in rows:
        if not row["verdict_right"]:
            print("wrong:", row["mechanism"], row["seed"], row["best"], json.dumps(row["signature"]))
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
