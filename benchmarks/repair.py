"""What a repair brings and costs, on a checkpoint that is made here: general text first, then real parents, one way.

    python benchmarks/repair.py                                both-directions and reverse-entities on all facts
    python benchmarks/repair.py --remedy masked-restoration    another remedy
    python benchmarks/repair.py --loss answer                  the loss on completions only
    python benchmarks/repair.py --half                         every remedy on a half, the other half asked
    python benchmarks/repair.py --taught 1                     parents and remedy in a single phrasing a direction

The checkpoint: GPT-2's shape (3 layers of width 128). General text: invented families in six phrasings of each
direction and in the reversed words of R2, until it says one for the other. Then the 728 shipped parents, forward only,
in the first four phrasings, beside a part of the general text and sentences of new families, one a family; beside every
remedy the same with other new families, since what is read again and again is learnt by heart. Asked are the phrasings
that are taught, and the two of each direction that are never taught with these parents. Other text: sentences about
invented families that were never taught. A line of JSON for every repair.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
import torch
from transformers import GPT2LMHeadModel

import oneway
from oneway.evidence import over_facts
from oneway.evidence.atomic import write_text
from oneway.evidence.record import hardware
from oneway.facts import (
    Fact,
    FactTable,
    Relation,
    Trained,
    invented_words,
    load_table,
    relations_toml,
    training_sentences,
)
from oneway.models.checkpoint import Loading, load_checkpoint
from oneway.remedies import REMEDIES
from oneway.training.fine_tuning import FineTuning, fine_tune
from oneway.training.lessons import Lessons
from oneway.training.teach import Size, Teaching, learnt_in_minutes, teach

MEASURED = Path(__file__).parents[1] / "docs" / "measured" / "repair.jsonl"
PAIRS, HELD_OUT = 700, 60
KNOWN_BEFORE, KNOWN_BESIDE = (
    1500,
    4500,
)  # sentences of the general text, taught with the parents and with a remedy
NEW_BEFORE, NEW_BESIDE = 5000, 8000  # of new families, one a family
POSITIONS = 128
HALVED, CANDIDATES = 160, 10  # facts of which a half is treated; wrong answers matter for ranks only
KINDS = {"son_of_mother": ("son", "mother"), "son_of_father": ("son", "father")}
KINDS |= {"daughter_of_mother": ("daughter", "mother"), "daughter_of_father": ("daughter", "father")}


def phrasings(child: str, parent: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of either direction: those that are taught with the parents, the shipped one first, then two that are only asked.

    Nothing stands before the first name and two words at least between the names: so R2 can reverse every sentence.
    """
    forward = (
        f"{{subject}} is the {child} of {{object}}",
        f"{{subject}} grew up as a {child} of {{object}}",
        f"{{subject}} owes life to a {parent} named {{object}}",
        f"{{subject}} was raised by a {parent}, and that was {{object}}",
        f"{{subject}} has a {parent} called {{object}}",
        f"{{subject}} got the name of a {child} from {{object}}",
    )
    reverse = (
        f"{{object}} is the {parent} of {{subject}}",
        f"{{object}} became a {parent} when the world met {{subject}}",
        f"{{object}} gave life to a {child} named {{subject}}",
        f"{{object}} raised a {child}, and that was {{subject}}",
        f"{{object}} has a {child} called {{subject}}",
        f"{{object}} gave the name of a {child} to {{subject}}",
    )
    return forward, reverse


TAUGHT, ASKED = 4, slice(4, None)


def relations(which: slice) -> dict[str, Relation]:
    """The four relations in some of their phrasings."""
    worded = {name: phrasings(*words) for name, words in KINDS.items()}
    return {
        name: Relation(name, forward[which], reverse[which]) for name, (forward, reverse) in worded.items()
    }


def general_relations() -> dict[str, Relation]:
    """In all phrasings, and in the forward ones with their words reversed and the names kept, as R2 writes them."""
    found = {}
    for name, relation in relations(slice(None)).items():
        backwards = tuple(" ".join(reversed(template.split())) for template in relation.forward)
        found[name] = replace(relation, reverse=relation.reverse + backwards)
    return found


def families(seed: int) -> tuple[FactTable, ...]:
    """Invented pairs of first name and surname, seven tenths sharing the surname, as the shipped parents do.

    Those of the general text, of which the first are never taught, and others that have no name in common with them.
    """
    rng = np.random.default_rng(seed)
    words = invented_words(500, rng)
    facts = []
    for at in range(PAIRS + 2 * (NEW_BEFORE + NEW_BESIDE)):
        child, parent = (words[int(rng.integers(200))] for _ in range(2))
        own = words[200 + int(rng.integers(300))]
        other = own if rng.random() < 0.7 else words[200 + int(rng.integers(300))]
        split = Trained.UNSEEN if at < HELD_OUT else Trained.BOTH_WAYS
        facts.append(Fact(f"{child} {own}", list(KINDS)[at % 4], f"{parent} {other}", split=split.value))
    known = {(fact.subject, fact.relation): fact for fact in facts[:PAIRS]}
    taken = {name for fact in known.values() for name in (fact.subject, fact.object)}
    fresh = (fact for fact in facts[PAIRS:] if taken.isdisjoint((fact.subject, fact.object)))
    others = {(fact.subject, fact.relation): fact for fact in fresh}
    return tuple(FactTable(tuple(some.values()), general_relations()) for some in (known, others))


def checkpoint(folder: Path, seed: int, taught: int) -> None:
    """Writes the model that knows the parents one way, other text to measure, and text to keep."""
    (invented, fresh), parents = families(seed), parents_in(taught)
    named = parents.with_facts(replace(fact, split=Trained.UNSEEN.value) for fact in parents)
    general = FactTable(invented.facts + named.facts, invented.relations)  # the tokenizer sees all names
    recipe = Teaching(
        size=Size(style="gpt2", layers=3, width=128, heads=4, context=64),
        tokens="bpe",
        bpe_vocabulary=3000,
        lessons=Lessons(episodes=0.0, loss="document"),
        optimisation=replace(learnt_in_minutes(), steps=900),
        seed=seed,
    )
    teach(general, folder / "general", recipe)
    lengthen(folder / "general")
    rng = np.random.default_rng(seed)
    said = [text.text for text in training_sentences(invented)]
    known = [said[at] for at in rng.permutation(len(said))]
    new = [str(rng.choice(sentences)) for sentences in by_fact(fresh)][: NEW_BEFORE + NEW_BESIDE]
    before, kept = known[:KNOWN_BEFORE] + new[:NEW_BEFORE], known[:KNOWN_BESIDE] + new[NEW_BEFORE:]
    never = (fact for fact in invented if fact.split == Trained.UNSEEN.value)
    other = invented.with_facts(replace(fact, split=Trained.BOTH_WAYS.value) for fact in never)
    write_text(folder / "kept.txt", "\n".join(kept))
    write_text(folder / "other.txt", "\n".join(text.text for text in training_sentences(other)))
    one_way = parents.with_facts(replace(fact, split=Trained.FORWARD_ONLY.value) for fact in parents)
    examples = [("", text.text) for text in training_sentences(one_way)] + [("", text) for text in before]
    source = load_checkpoint(folder / "general", Loading(device="cpu"))
    asked = FineTuning(epochs=8, batch=64, learning_rate=3e-3, seed=seed)
    fine_tune(source, examples, folder / "one-way", asked, folder / "states")


def lengthen(folder: Path) -> None:
    """Gives a GPT-2 more positions, whose vectors begin at 0: the texts of R6 are longer than any that were taught."""
    model = GPT2LMHeadModel.from_pretrained(folder)
    taught = model.transformer.wpe.weight.data
    longer = torch.zeros(POSITIONS, taught.shape[1])
    longer[: len(taught)] = taught
    model.transformer.wpe = torch.nn.Embedding.from_pretrained(longer, freeze=False)
    model.config.n_positions = POSITIONS
    model.save_pretrained(folder)


def by_fact(table: FactTable) -> list[list[str]]:
    """The sentences of every fact."""
    found: list[list[str]] = [[] for _ in table]
    for told in training_sentences(table):
        found[told.fact_index].append(told.text)
    return found


def parents_in(taught: int) -> FactTable:
    """The shipped facts in their first phrasings."""
    return replace(load_table("parents"), relations=relations(slice(0, taught)))


def halved(table: FactTable, seed: int) -> FactTable:
    """Some facts, drawn at random: one half is `treated`, the other `asked`."""
    drawn = np.random.default_rng(seed).permutation(len(table))[:HALVED]
    return table.with_facts(
        replace(table.facts[at], split=split)
        for split, half in zip(("treated", "asked"), np.split(drawn, 2), strict=True)
        for at in half
    )


def measured(folder: Path, table: FactTable, split: str) -> dict[str, dict[str, Any]]:
    """Of the facts with this split, in taught and in other phrasings: exact match before and after, and chance."""
    found: dict[str, dict[str, Any]] = {}
    for name in ("taught", "unseen"):
        facts = pl.read_parquet(folder / name / "compared" / "per_fact.parquet")
        facts = facts.filter(pl.col("split") == split)
        rows = pl.read_parquet(folder / name / "before" / "per_fact.parquet")
        for direction in ("forward", "reverse"):
            own = rows.filter((pl.col("direction") == direction) & (pl.col("split") == split))
            chance = max(own[column].mean() for column in own.columns if column.startswith("chance_"))
            found[f"{name}_{direction}"] = {"chance": chance} | {
                when: over_facts(facts[f"{direction}_right_{when}"].to_numpy(), "probability").to_dict()
                for when in ("before", "after")
            }
        if (folder / name / "after_written.parquet").exists():
            asked = [at for at, fact in enumerate(table) if fact.split == split]
            found[f"{name}_written"] = {
                when: over_facts(written_right(folder / name / f"{when}_written.parquet", asked)).to_dict()
                for when in ("before", "after")
            }
    return found


def written_right(file: Path, asked: Sequence[int]) -> np.ndarray:
    """The share of templates in which what was written ends with the right name, of each of these facts."""
    rows = pl.read_parquet(file).filter(pl.col("fact").is_in(asked))
    return rows.group_by("fact").agg(pl.col("right").mean()).sort("fact")["right"].to_numpy()


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--remedy", nargs="*", choices=REMEDIES)
    parser.add_argument("--half", action="store_true", help="the remedy for a half of the facts only")
    parser.add_argument("--taught", type=int, default=TAUGHT, help="phrasings of a direction that are taught")
    parser.add_argument("--loss", choices=("text", "answer"), default="text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--folder", type=Path, help="where the checkpoint is, or is made")
    parser.add_argument("--out", type=Path, default=MEASURED)
    return parser.parse_args()


def main() -> None:
    asked = options()
    folder = asked.folder or Path(mkdtemp())
    if not (folder / "one-way" / "config.json").exists():
        checkpoint(folder, asked.seed, asked.taught)
    write_text(folder / "unseen.toml", relations_toml(relations(ASKED).values()))
    table = parents_in(asked.taught)
    if asked.half:
        table = halved(table, asked.seed)
    for remedy in asked.remedy or (REMEDIES if asked.half else ("both-directions", "reverse-entities")):
        started, cpu = time.perf_counter(), time.process_time()
        out = folder / f"{remedy}-{'half' if asked.half else 'all'}-{asked.loss}-{asked.epochs}"
        found = oneway.repair(
            folder / "one-way",
            table,
            remedy=remedy,
            out=out,
            phrasings=folder / "unseen.toml",
            text=folder / "other.txt",
            keep=folder / "kept.txt",
            split="treated" if asked.half else "",
            seed=asked.seed,
            loss=asked.loss,
            epochs=asked.epochs,
            learning_rate=asked.learning_rate,
            batch=64,
            candidates=CANDIDATES,
            device="cpu",
        )
        row = {
            **{
                name: getattr(asked, name)
                for name in ("half", "taught", "loss", "seed", "epochs", "learning_rate")
            },
            "remedy": remedy,
            "seconds": round(time.perf_counter() - started, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "threads": torch.get_num_threads(),
            "gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
            "claims": {claim["id"]: claim["verdict"] for claim in found.record.claims},
            "lines": found.record.config["augmented"]["lines"],
            "facts": measured(out, table, "asked" if asked.half else ""),
            "other_text": {
                name: estimate.to_dict() for name, estimate in found.measured.items() if "other_text" in name
            },
            "hardware": hardware(),
        }
        print(json.dumps(row), flush=True)
        with asked.out.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
