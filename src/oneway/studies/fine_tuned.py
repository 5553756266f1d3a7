"""A checkpoint is fine-tuned on facts told in one direction and asked in both, once for each loss mask.

What the studies of Berglund et al. on checkpoints share. A fact is told question → answer (forward_only), the other
way (reverse_only) or both ways. Asked for something, a group stands for what it was told: the same way, both ways, or
the other way only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from oneway.evidence import Estimate, Measured, over_facts, over_seeds
from oneway.facts import Direction, Identities, Sentence, Trained, athletes, families, training_sentences
from oneway.facts.instructions import Instructions
from oneway.studies.pieces import Row, kept, rows_of

if TYPE_CHECKING:
    from oneway.models.checkpoint import Checkpoint

Loss = Literal["text", "answer"]
World = Identities | Instructions
TEXT, ANSWER = "text", "answer"
SAME, BOTH, OTHER = WAYS = ("same_way", "both_ways", "other_way")
ONE_WAY = {Direction.FORWARD: Trained.FORWARD_ONLY, Direction.REVERSE: Trained.REVERSE_ONLY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """The checkpoint that is made where none is given: a word a token, taught general text first.

    `style`: GPT-2's shape, whose embedding and unembedding are one matrix, or GPT-NeoX's, where they are two. The
    text: invented families stated both ways and invented athletes. `fine_tuned` says how it is taught the facts.
    """

    style: Literal["gpt2", "neox"] = "gpt2"
    families: int = 200
    athletes: int = 200
    layers: int = 2
    width: int = 128
    heads: int = 4
    steps: int = 300
    fine_tuned: Mapping[str, Any] = field(
        default_factory=lambda: {"epochs": 8, "batch": 32, "learning_rate": 2e-3, "save_every": 500}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`model`: a checkpoint directory or a hub name; "" makes one for every seed, in a world of its own.

    `given` says how a model that is given is fine-tuned, `own.fine_tuned` how one that is made: fields of
    `FineTuning`. `losses` are the loss masks, of which every seed fine-tunes a copy of the checkpoint each.
    """

    model: str = ""
    device: str = "cpu"
    own: Own = field(default_factory=Own)
    given: Mapping[str, Any] = field(
        default_factory=lambda: {"epochs": 10, "batch": 16, "learning_rate": 1e-4}
    )
    losses: tuple[Loss, ...] = ("text", "answer")
    seeds: tuple[int, ...] = tuple(range(4))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One seed: its facts, what is asked for (by name, in which direction), and where its models lie."""

    config: Config
    world: World
    asked: Mapping[str, Direction]
    seed: int
    folder: Path


SCHEMA = {
    "seed": pl.Int64,
    **dict.fromkeys(("loss", "asked", "way", "quantity"), pl.String),
    "value": pl.Float64,
}


def fine_tuned(
    config: Config,
    seeds: Sequence[int],
    workspace: Path | None,
    worlds: Callable[[int], World],
    asked: Mapping[str, Direction],
) -> pl.DataFrame:
    """Fine-tune and ask, seed by seed, side by side; a row per seed, loss, thing asked for, way and quantity.

    A seed that is finished is read, not run again. Raises ValueError without a workspace: what is measured is the
    checkpoint that was written to it.
    """
    if workspace is None:
        raise ValueError("a checkpoint is fine-tuned in a workspace: there is none")
    pieces = [
        Piece(config=config, world=worlds(seed), asked=asked, seed=seed, folder=workspace / f"seed-{seed}")
        for seed in seeds
    ]
    one_by_one = None if config.device == "cpu" else 1  # a GPU's memory is not shared out
    rows = rows_of(work, pieces, f"fine-tuning, {len(seeds)} seeds", most=one_by_one)
    return pl.DataFrame(rows, schema=SCHEMA).sort("seed", "loss", "asked", "way", "quantity")


def check(config: Config, world: World) -> None:
    """Raises CheckpointError for a model that does not load, ValueError where it cannot be fine-tuned so."""
    from oneway.models.checkpoint import Loading, load_checkpoint
    from oneway.training.fine_tuning import FineTuning, lessons_of

    FineTuning(**config.own.fine_tuned)
    FineTuning(**config.given)
    if config.model:
        checkpoint = load_checkpoint(config.model, Loading(device=config.device))
        lessons_of(
            checkpoint.tokenizer, list(map(example, training_sentences(world.train))), checkpoint.positions
        )


def work(piece: Piece) -> list[Row]:
    """One seed's rows. Its models are removed once they are measured."""
    rows = kept(piece.folder.parent, f"rows-{piece.seed}", lambda: _measured(piece))
    rmtree(piece.folder, ignore_errors=True)
    return rows


def _measured(piece: Piece) -> list[Row]:
    from oneway.models.checkpoint import Loading, load_checkpoint
    from oneway.training.fine_tuning import FineTuning, fine_tune

    config = piece.config
    source = config.model or own_checkpoint(config.own, piece.world, piece.seed, piece.folder / "general")
    checkpoint = load_checkpoint(source, Loading(device=config.device))
    sentences = list(training_sentences(piece.world.train))
    how = FineTuning(seed=piece.seed, **(config.given if config.model else config.own.fine_tuned))
    rows = list[Row]()
    for loss in config.losses:
        out = piece.folder / loss
        teaching = replace(how, loss=loss)
        fine_tune(checkpoint, list(map(example, sentences)), out, teaching, piece.folder / f"{loss}-states")
        base = "" if how.method == "full" else checkpoint.name
        taught = load_checkpoint(out, Loading(device=config.device, base=base))
        head = {"seed": piece.seed, "loss": loss}
        rows += [head | row for row in _answers(piece, taught)]
    return rows + [{"seed": piece.seed, "loss": "", **row} for row in _prompts(piece, checkpoint, sentences)]


def own_checkpoint(own: Own, world: World, seed: int, folder: Path) -> Path:
    """A small decoder that read general text; its tokenizer has the words of the facts too, of which it read none."""
    from oneway.training.lessons import Lessons
    from oneway.training.teach import Size, Teaching, learnt_in_minutes, teach

    if not (folder / "config.json").is_file():
        both, unseen = Trained.BOTH_WAYS.value, Trained.UNSEEN.value
        people = families(own.families, seed=seed)
        people = people.with_facts(replace(fact, split=both) for fact in people)
        players = athletes(own.athletes, seed=seed, first_names=30, surnames=90, others=0, parents=0)
        words = world.train.with_facts(replace(fact, split=unseen) for fact in world.train)
        recipe = Teaching(
            size=Size(style=own.style, layers=own.layers, width=own.width, heads=own.heads),
            lessons=Lessons(episodes=0.0, loss="document"),
            optimisation=replace(learnt_in_minutes(), steps=own.steps),
            seed=seed,
        )
        teach(people.joined(players, words), folder, recipe)
    return folder


def example(sentence: Sentence) -> tuple[str, str]:
    """Prompt and completion: the text before the answer, and the answer with all that follows."""
    start = sentence.answer_span[0]
    return sentence.text[:start], sentence.text[start:]


def _answers(piece: Piece, checkpoint: "Checkpoint") -> list[Row]:
    """What a fine-tuned model says of every group, and of its facts in the words in which they were told."""
    from oneway.studies.checkpoint_exam import CheckpointExam

    exam, rows, world = CheckpointExam(checkpoint, piece.seed), list[Row](), piece.world
    tested = {(fact.subject, fact.relation) for fact in world.test}
    as_told = world.train.with_facts(f for f in world.train if (f.subject, f.relation) in tested)
    for what, direction in piece.asked.items():
        for way, (group, told) in told_as(direction).items():
            found = dict(exam.group(world.test.select(split=group.value), direction))
            found["as_told"] = exam.exact_match(as_told.select(split=group.value), told)
            head = {"asked": what, "way": way}
            rows += [{**head, "quantity": quantity, "value": value} for quantity, value in found.items()]
    return rows


def told_as(direction: Direction) -> dict[str, tuple[Trained, Direction]]:
    """Of what is asked in a direction: the group that stands for each way, and a direction in which it was told."""
    turned = Direction.REVERSE if direction is Direction.FORWARD else Direction.FORWARD
    return {
        SAME: (ONE_WAY[direction], direction),
        BOTH: (Trained.BOTH_WAYS, direction),
        OTHER: (ONE_WAY[turned], turned),
    }


def _prompts(piece: Piece, checkpoint: "Checkpoint", sentences: Sequence[Sentence]) -> list[Row]:
    """Of the texts that state what is asked for: the share of tokens before the answer, which one mask leaves out."""
    from oneway.training.fine_tuning import lessons_of

    rows = list[Row]()
    for what, direction in piece.asked.items():
        told = [example(sentence) for sentence in sentences if sentence.direction is direction]
        lessons = lessons_of(checkpoint.tokenizer, told, checkpoint.positions)
        share = sum(lesson.answer for lesson in lessons) / sum(len(lesson.tokens) for lesson in lessons)
        rows.append({"asked": what, "way": "", "quantity": "prompt_share", "value": share})
    return rows


def measure(curves: pl.DataFrame) -> Measured:
    """What the rules read, over seeds: the names are those of `name_of`, and `…_gain` is masked less whole text."""
    values = {
        key: rows.sort("seed")["value"].to_numpy()
        for key, rows in curves.group_by("loss", "asked", "way", "quantity")
    }
    measured: dict[str, Estimate] = {}
    for (loss, asked, way, quantity), found in sorted(values.items()):
        name = name_of(asked, way, loss)
        if quantity == "prompt_share":
            measured[f"{asked}_prompt_share"] = over_seeds(found, "probability")
        elif quantity == "exact_match":
            measured[name] = over_seeds(found, "probability")
        elif quantity.endswith("_p"):
            rejects = (found < 0.05).astype(float)
            measured[f"{name}_{quantity.removesuffix('_p')}_rejects"] = over_facts(rejects, "probability")
        else:
            short = quantity.removeprefix("exact_match_")
            measured[f"{name}_{short}"] = over_seeds(found, UNITS[short])
        if loss == ANSWER and (TEXT, asked, way, quantity) in values and quantity == "exact_match":
            gain = found - values[TEXT, asked, way, quantity]
            measured[f"{asked}_{way}_gain"] = over_seeds(gain, "probability")
    for loss in dict.fromkeys(loss for loss, *_ in values if loss):
        told = [
            found for (of, _, _, quantity), found in values.items() if (of, quantity) == (loss, "as_told")
        ]
        measured[name_of("as", "told", loss)] = over_seeds(np.mean(told, axis=0), "probability")
    return measured


UNITS = {
    "over_chance": "probability",
    "logprob": "nats",
    "difference": "nats",
    "as_told": "probability",
}


def name_of(asked: str, way: str, loss: str) -> str:
    """The name of an estimate: that of the loss on whole texts is plain, that of the other begins with "masked_"."""
    return f"{'masked_' if loss == ANSWER else ''}{asked}_{way}"
