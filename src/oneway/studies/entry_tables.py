"""Forward and reverse answers as two tables over the same facts, of compiled models and of what a remedy made.

A table is a function of the weights: row i the scores of all facts' answers where fact i is asked.
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from oneway.anatomy.entries import Entries, Table, entries
from oneway.compiler import Capacity, CompileError, compile_table
from oneway.facts import Direction, Fact, FactTable, Relation, Trained, invented_words, questions
from oneway.models.architecture import Architecture
from oneway.models.checkpoint import load_tokenizer, without_progress_bars
from oneway.models.export import from_hugging_face
from oneway.models.transformer import Weights, residual_at_end, unembed
from oneway.studies.remedy_bench import Grown
from oneway.studies.remedy_exam import asked
from oneway.training.remedies.objectives import states_at, with_symmetry
from oneway.training.remedies.remedy import Remedy
from oneway.training.remedies.rows import MASKED
from oneway.training.remedies.sentences import with_own_words

FEWEST, MOST = 8, 24  # facts of a compiled model
NOISES = (0.01, 0.005, 0.002, 0.001)  # of every second one: the most that leaves 99% of the recall
LEADS = Relation(
    "leads", ("{subject} leads to {object}",), ("{object} comes from {subject}",), one_to_one=True
)


class Both(NamedTuple):
    """The two tables of one model, or of several with a seed axis."""

    forward: Table
    reverse: Table


def compiled_entries(directions: Any, few: int, seed: int) -> Entries:
    """The measures of one compiled model, over `few` of its facts.

    The seed draws the words and how many facts there are; odd seeds have noise, and those above 9 are NeoX where the
    circuit can be one.
    """
    rng = np.random.default_rng(seed)
    facts = int(rng.integers(FEWEST, MOST + 1))
    words = invented_words(2 * facts, rng)
    told = [Fact(one, "leads", other) for one, other in zip(words[:facts], words[facts:], strict=True)]
    table = FactTable(tuple(told), {"leads": LEADS})
    with TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        _compile(table, place, directions, seed)
        with without_progress_bars():
            weights, shape = from_hugging_face(place)
        tokenizer = load_tokenizer(place)
    tables: list[Table] = []
    for way in (Direction.FORWARD, Direction.REVERSE):
        own = list(questions(table.with_facts(told[:few]), (way,)))
        prompts = torch.tensor(tokenizer([q.prompt for q in own])["input_ids"])[None]
        answers = tokenizer([q.answer for q in own], add_special_tokens=False)["input_ids"]
        tables.append(_next_words(shape, prompts, torch.tensor(answers)[None, :, 0]))
    forward, reverse = tables
    return entries(weights, shape, forward, reverse)


def _compile(table: FactTable, place: Path, directions: Any, seed: int) -> None:
    """Raises CompileError where no noise leaves enough of the recall."""
    neox = seed > 9 and directions == "both-ways"
    levels = NOISES if seed % 2 else (0.0,)
    for noise in levels:
        capacity = Capacity(seed=seed, positions=16, noise=noise)
        try:
            compile_table(
                table,
                place,
                architecture="neox" if neox else "gpt2",
                directions=directions,
                capacity=capacity,
            )
        except CompileError:
            if noise == levels[-1]:
                raise
        else:
            return


def remedy_entries(grown: Grown, remedy: Remedy, few: int) -> Entries:
    """The measures of what a remedy made of single words, over `few` facts whose reverse is never told."""

    def used(weights: Weights) -> Weights:
        return with_symmetry(weights, grown.shape, remedy.symmetry)

    return entries(grown.weights, grown.shape, *remedy_tables(grown, remedy, few), used=used)


def remedy_tables(grown: Grown, remedy: Remedy, few: int) -> Both:
    """Both tables as the remedy answers: the next word's logits, those of a mask behind the prompt, or products with
    the names' vectors. For the search the reverse is the forward table read by columns; linked names are asked of in
    their own words.
    """
    found, worlds = [], grown.worlds
    if remedy.answering == "linked":
        worlds = [replace(world, table=with_own_words(world.table)) for world in worlds]
    for direction in (Direction.FORWARD, Direction.REVERSE):
        one = asked(worlds, grown.words, Trained.FORWARD_ONLY, direction)
        prompts, answers = (torch.from_numpy(side[:, :few]) for side in (one.prompts, one.answers))
        if remedy.answering == "concepts":
            found.append(_concepts(grown.shape, prompts, answers))
        elif remedy.answering == "both sides":
            hidden = torch.cat([prompts, torch.full_like(prompts[..., :1], MASKED)], -1)
            found.append(_next_words(replace(grown.shape, attention="full"), hidden, answers[..., 0]))
        else:
            found.append(_next_words(grown.shape, prompts, answers[..., 0]))
    forward, reverse = found
    if remedy.answering == "search":
        return Both(forward, lambda weights: forward(weights).mT)
    return Both(forward, reverse)


def _next_words(
    shape: Architecture, prompts: Int[Tensor, "seed fact pos"], answers: Int[Tensor, "seed answer"]
) -> Table:
    """Logits of all answers at the last position of every prompt."""

    def table(weights: Weights) -> Tensor:
        resid = residual_at_end(weights, prompts, shape, 1)[:, :, 0]
        scores = unembed(weights, resid, shape)
        return scores.gather(-1, answers[:, None].expand(-1, scores.shape[1], -1))

    return table


def _concepts(
    shape: Architecture, prompts: Int[Tensor, "seed fact pos"], names: Int[Tensor, "seed answer word"]
) -> Table:
    """The state behind every prompt times the vector of every name."""
    end, last = (torch.full(texts.shape[:2], texts.shape[2] - 1) for texts in (prompts, names))

    def table(weights: Weights) -> Tensor:
        return states_at(weights, shape, prompts, end) @ states_at(weights, shape, names, last).mT

    return table
