"""An audit that nobody ran: invented facts, rows as an audit writes them, for tests of what shows them."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from oneway.evidence import RunRecord, over_facts

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "\"quoted\" & 'single' `tick`",
    "مريم الفاسي",
    "Zoë 🦉 Ångström",
    '=HYPERLINK("http://x.test","y")',
    "+1-555",
    "@cmd",
    "-2+3",
    "line\u2028break\ttab",
    "{{style}} %{x} ${y}",
    "&lt;b&gt;bold&lt;/b&gt;",
)
FIRST = ("Ada", "Bela", "Cato", "Dora", "Emil", "Fay", "Gus", "Hana", "Ivo", "Jana")
FIRST += ("Kai", "Lena", "Milo", "Nora", "Otto", "Pia", "Quin", "Rosa", "Sven", "Tara")
LAST = ("Abel", "Brandt", "Costa", "Dietz", "Eriksen", "Falk", "Grau", "Hauge")
LAST += ("Ibsen", "Juhl", "Kern", "Lund", "Moser", "Nagy", "Olsen", "Pohl")
SPORTS = ("baseball", "basketball", "American football")

# split: how often a whole answer is right forward, in reverse, in context
SKILL = {
    "forward_only": (0.98, 0.01, 0.95),
    "both_ways": (0.99, 0.95, 0.97),
    "unseen": (0.01, 0.01, 0.86),
    "athletes": (0.97, 0.02, 0.60),
}
WORDS = {
    "son": ("{s} has a son named", "{o} is the son of"),
    "daughter": ("{s} has a daughter named", "{o} is the daughter of"),
    "mother": ("The mother of {s} is", "{o} is the mother of"),
    "father": ("The father of {s} is", "{o} is the father of"),
    "plays_sport": ("{s} plays the sport of", "The sport of {o} is played by"),
}


@dataclass(frozen=True)
class Audit:
    record: RunRecord
    rows: pl.DataFrame


@pytest.fixture(scope="session")
def make_audit() -> Callable[..., Audit]:
    """make_audit(parents=500, athletes=1500, templates=1, hostile=()) → an invented audit."""
    return _audit


@pytest.fixture(scope="session")
def hostile() -> tuple[str, ...]:
    """Names that a page, a terminal or a spreadsheet might take for something else."""
    return HOSTILE


@pytest.fixture(scope="session")
def payloads() -> dict[str, str]:
    """Kind → text: everything that a page, a figure, a spreadsheet or a terminal might take for a command."""
    listed = json.loads((Path(__file__).parent / "hostile.json").read_text(encoding="utf-8"))
    return {item["kind"]: item["text"] * item.get("times", 1) for item in listed}


def _audit(
    parents: int = 500, athletes: int = 1500, templates: int = 1, hostile: tuple[str, ...] = ()
) -> Audit:
    rng = np.random.default_rng(0)
    rows = []
    for number, (subject, relation, answer, split) in enumerate(_facts(parents, athletes, hostile)):
        for template in range(templates):
            rows.extend(_rows_of(rng, number, subject, relation, answer, split, template))
    table = _classed(pl.DataFrame(rows))
    return Audit(_record(table), table)


def _facts(parents: int, athletes: int, hostile: tuple[str, ...]) -> Iterator[tuple[str, str, str, str]]:
    relations, splits = ("son", "daughter", "mother", "father"), ("forward_only", "both_ways", "unseen")
    for i, name in enumerate(hostile):
        yield name, name if i == 0 else "mother", f"{name} senior", "forward_only" if i else name
    for i in range(parents):
        surname = LAST[i % len(LAST)]
        middle = FIRST[(i // 20) % 20]
        split = splits[0 if i % 100 < 68 else 1 if i % 100 < 90 else 2]
        child = f"{FIRST[(i * 7 + 3) % 20]} {surname} {i}"
        yield f"{FIRST[i % 20]} {middle} {surname}", relations[i % 4], child, split
    for i in range(athletes):
        name = f"{FIRST[i % 20]} {LAST[(i // 20) % 16]}-{LAST[(i * 5) % 16]} {i}"
        yield name, "plays_sport", SPORTS[i % 3], "athletes"


def _rows_of(
    rng: np.random.Generator, fact: int, subject: str, relation: str, obj: str, split: str, template: int
) -> Iterator[dict[str, Any]]:
    forward, reverse = WORDS.get(relation, WORDS["mother"])
    told = f"{forward.format(s=subject)} {obj}"
    skill = SKILL.get(split, SKILL["forward_only"])
    sport = relation == "plays_sport"
    asked = (
        ("forward", forward.format(s=subject), obj),
        ("reverse", reverse.format(o=obj), subject),
        ("in_context", f"{told}. {reverse.format(o=obj)}", subject),
    )
    for (direction, prompt, answer), p in zip(asked, skill, strict=True):
        right = bool(rng.random() < p)
        tokens = 1 + answer.count(" ")
        per_token = -float(rng.gamma(1.2, 0.02) if right else 0.6 + rng.gamma(2.5, 1.4))
        random = tokens * -float(3 + rng.gamma(3, 1.2))
        candidates = 3 if sport and direction == "forward" else 200
        yield {
            "fact": fact,
            "subject": subject,
            "relation": relation,
            "object": obj,
            "split": split,
            "direction": direction,
            "template": forward if direction == "forward" else reverse,
            "template_index": template,
            "prompt": prompt,
            "answer": f" {answer}",
            "logprob": per_token * tokens,
            "logprob_per_token": per_token,
            "answer_tokens": tokens,
            "rank": 1 if right else min(candidates, 2 + int(rng.exponential(40))),
            "candidates": candidates,
            "right_answers": 500 if sport and direction == "reverse" else 1,
            "exact_match": right,
            "random_logprob": random,
            "margin": per_token * tokens - random,
            "chance_uniform": 1 / candidates,
            "chance_frequent": 0.34 if sport and direction == "forward" else 0.006,
            "chance_surname": 1 / candidates if sport else 0.03,
            "flag": "the prompt's tokens are not a prefix of the text's" if rng.random() < 0.002 else "",
            "source": f"facts.csv:{fact + 2}",
        }


def _classed(rows: pl.DataFrame) -> pl.DataFrame:
    def mostly(direction: str) -> pl.Expr:
        right = pl.col("exact_match").filter(pl.col("direction") == direction).mean().fill_null(0) >= 0.5
        return right.over("fact")

    forward, reverse = mostly("forward"), mostly("reverse")
    return rows.with_columns(
        pl.when(forward & reverse)
        .then(pl.lit("both_ways"))
        .when(forward)
        .then(pl.lit("forward_only"))
        .when(reverse)
        .then(pl.lit("reverse_only"))
        .when(mostly("in_context"))
        .then(pl.lit("in_context_only"))
        .otherwise(pl.lit("neither"))
        .alias("class")
    )


def _record(rows: pl.DataFrame) -> RunRecord:
    relations = ["", *rows["relation"].unique(maintain_order=True)]
    splits = ["", *rows["split"].unique(maintain_order=True)]
    summary = []
    for relation in relations:
        for split in splits:
            for direction in ("forward", "reverse", "in_context"):
                kept = rows.filter(
                    (pl.col("direction") == direction)
                    & ((pl.col("relation") == relation) | (relation == ""))
                    & ((pl.col("split") == split) | (split == ""))
                )
                if kept.height:
                    summary.append(_summarised(kept, relation, split, direction))
    return RunRecord(
        study="audit",
        run_id="20250131-142501-9f3a1c",
        title="Which way does demo-model recall 2,000 facts?",
        asked="Asked of every fact: can the model go from the subject to the object, from the object back to "
        "the subject, and back again when the fact stands in its prompt?",
        config={
            "model": {"path": "runs/demo/checkpoint", "layers": 2, "width": 64},
            "audit": {"candidates": 200, "seed": 0, "templates": ["forward", "reverse"]},
        },
        seeds=[0],
        summary=summary,
        data={"facts.csv": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
        checkpoints={"model.safetensors": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"},
        notes=["facts.csv:417: skipped, the object is empty"],
        tables={"per_fact": "per_fact.parquet"},
        wall_seconds=41.3,
    )


def _summarised(kept: pl.DataFrame, relation: str, split: str, direction: str) -> dict[str, Any]:
    chance = {f"chance_{k}": kept[f"chance_{k}"].mean() for k in ("uniform", "frequent", "surname")}
    estimates = {
        "exact_match": over_facts(kept["exact_match"].cast(float).to_numpy(), "probability", resamples=200),
        "top1": over_facts((kept["rank"] == 1).cast(float).to_numpy(), "probability", resamples=200),
    }
    for name in ("logprob", "logprob_per_token", "margin"):
        estimates[name] = over_facts(kept[name].to_numpy(), "nats", resamples=50)
    paired = {
        "facts": kept["fact"].n_unique(),
        "both": 3,
        "forward_only": 20,
        "reverse_only": 1,
        "neither": 2,
        "p_value": 2.1e-05,
        "difference": over_facts([2.0, 3.0, 2.5, 4.0], "nats", resamples=50).to_dict(),
    }
    return {
        "relation": relation,
        "split": split,
        "direction": direction,
        "facts": kept["fact"].n_unique(),
        **{name: estimate.to_dict() for name, estimate in estimates.items()},
        **chance,
        "chance": max(chance.values()),
        **({"paired": paired} if direction == "reverse" else {}),
    }
