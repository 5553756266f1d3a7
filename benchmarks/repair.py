"""What a repair brings and costs, on a checkpoint that is made here: general text first, then real parents, one way.

    python benchmarks/repair.py                                      both-directions and reverse-entities on all facts
    python benchmarks/repair.py --remedy masked-restoration          another remedy
    python benchmarks/repair.py --remedy both-directions --half      the remedy on a half, the other half asked

The checkpoint: GPT-2's shape (4 layers of width 192), taught invented families in several phrasings of each direction
until it says one for the other, then the 728 shipped parents forward only ("Tom is the son of Mary"), beside a part of
the general text. Asked are the taught phrasings and two of each direction that are never taught with these parents.
Other text: sentences about invented families that were never taught. A line of JSON for every repair.
"""

import argparse
import json
import os
import resource
import time
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

import oneway
from oneway.evidence.record import hardware
from oneway.facts import Fact, FactTable, Relation, Trained, invented_words, load_table, training_sentences
from oneway.models.checkpoint import Loading, load_checkpoint
from oneway.training.fine_tuning import FineTuning, fine_tune
from oneway.training.lessons import Lessons
from oneway.training.teach import Size, Teaching, learnt_in_minutes, teach

MEASURED = Path(__file__).parents[1] / "docs" / "measured" / "repair.jsonl"
PAIRS, HELD_OUT, KEPT = 900, 60, 1500
KINDS = {"son_of_mother": ("son", "mother"), "son_of_father": ("son", "father")}
KINDS |= {"daughter_of_mother": ("daughter", "mother"), "daughter_of_father": ("daughter", "father")}


def phrasings(child: str, parent: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of either direction: the shipped phrasing first, then two that are asked and not taught with the parents."""
    forward = (
        f"{{subject}} is the {child} of {{object}}",
        f"{{subject}} has a {parent} called {{object}}",
        f"everybody knows that the {parent} of {{subject}} is {{object}}",
    )
    reverse = (
        f"{{object}} is the {parent} of {{subject}}",
        f"{{object}} has a {child} called {{subject}}",
        f"everybody knows that the {child} of {{object}} is {{subject}}",
    )
    return forward, reverse


def relations(which: slice) -> dict[str, Relation]:
    """The four relations in some of their phrasings."""
    worded = {name: phrasings(*words) for name, words in KINDS.items()}
    return {
        name: Relation(name, forward[which], reverse[which]) for name, (forward, reverse) in worded.items()
    }


def families(seed: int) -> FactTable:
    """Invented pairs of first name and surname, seven tenths sharing the surname, as the shipped parents do."""
    rng = np.random.default_rng(seed)
    words = invented_words(500, rng)
    facts = []
    for at in range(PAIRS):
        child, parent = (words[int(rng.integers(200))] for _ in range(2))
        own = words[200 + int(rng.integers(300))]
        other = own if rng.random() < 0.7 else words[200 + int(rng.integers(300))]
        split = Trained.UNSEEN if at < HELD_OUT else Trained.BOTH_WAYS
        facts.append(Fact(f"{child} {own}", list(KINDS)[at % 4], f"{parent} {other}", split=split.value))
    unique = {(fact.subject, fact.relation): fact for fact in facts}
    return FactTable(tuple(unique.values()), relations(slice(None)))


def checkpoint(folder: Path, seed: int) -> tuple[list[str], list[str]]:
    """Writes the model that knows the parents one way; other text to measure, and text to keep."""
    invented, parents = families(seed), load_table("parents")
    parents = replace(parents, relations=relations(slice(0, 1)))
    named = parents.with_facts(replace(fact, split=Trained.UNSEEN.value) for fact in parents)
    general = FactTable(invented.facts + named.facts, invented.relations)  # the tokenizer sees all names
    recipe = Teaching(
        size=Size(style="gpt2", layers=4, width=192, heads=4, context=64),
        tokens="bpe",
        bpe_vocabulary=3000,
        lessons=Lessons(episodes=0.0),
        optimisation=replace(learnt_in_minutes(), steps=1500),
        seed=seed,
    )
    teach(general, folder / "general", recipe)
    said = [text.text for text in training_sentences(invented)]
    other = invented.with_facts(
        replace(fact, split=Trained.BOTH_WAYS.value)
        for fact in invented
        if fact.split == Trained.UNSEEN.value
    )
    rng = np.random.default_rng(seed)
    kept = [said[at] for at in rng.permutation(len(said))[:KEPT]]
    one_way = parents.with_facts(replace(fact, split=Trained.FORWARD_ONLY.value) for fact in parents)
    taught = [("", text.text) for text in training_sentences(one_way)]
    source = load_checkpoint(folder / "general", Loading(device="cpu"))
    asked = FineTuning(epochs=30, batch=64, learning_rate=1e-3, seed=seed)
    fine_tune(source, taught + [("", text) for text in kept], folder / "one-way", asked, folder / "states")
    return [text.text for text in training_sentences(other)], kept


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--remedy", nargs="*", default=["both-directions", "reverse-entities"])
    parser.add_argument("--half", action="store_true", help="the remedy for a half of the facts only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--folder", type=Path, help="where the checkpoint is, or is made")
    parser.add_argument("--out", type=Path, default=MEASURED)
    asked = parser.parse_args()
    folder = asked.folder or Path(mkdtemp())
    if not (folder / "one-way" / "config.json").exists():
        other, kept = checkpoint(folder, asked.seed)
        (folder / "other.txt").write_text("\n".join(other), encoding="utf-8")
        (folder / "kept.txt").write_text("\n".join(kept), encoding="utf-8")
    words = "\n".join(
        f"[{name}]\nforward = {json.dumps(r.forward)}\nreverse = {json.dumps(r.reverse)}"
        for name, r in relations(slice(1, None)).items()
    )
    (folder / "unseen.toml").write_text(words, encoding="utf-8")
    rng = np.random.default_rng(asked.seed)
    table = load_table("parents")
    treated = (
        set(rng.permutation(len(table))[: len(table) // 2].tolist()) if asked.half else set(range(len(table)))
    )
    table = table.with_facts(
        replace(fact, split="treated" if at in treated else "asked") for at, fact in enumerate(table)
    )
    for remedy in asked.remedy:
        started, cpu = time.perf_counter(), time.process_time()
        name = f"{remedy}-{'half' if asked.half else 'all'}-{asked.epochs}"
        found = oneway.repair(
            folder / "one-way",
            table,
            remedy=remedy,
            out=folder / name,
            phrasings=folder / "unseen.toml",
            text=folder / "other.txt",
            keep=folder / "kept.txt",
            split="treated" if asked.half else "",
            epochs=asked.epochs,
            batch=64,
            device="cpu",
        )
        row = {
            "remedy": remedy,
            "half": asked.half,
            "seed": asked.seed,
            "epochs": asked.epochs,
            "seconds": round(time.perf_counter() - started, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
            "claims": {claim["id"]: claim["verdict"] for claim in found.record.claims},
            "measured": {name: estimate.to_dict() for name, estimate in found.measured.items()},
            "hardware": hardware(),
        }
        print(json.dumps(row), flush=True)
        with asked.out.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
