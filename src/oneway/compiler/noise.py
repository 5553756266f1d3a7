"""Noise on finished weights, and whether a checkpoint still recalls what it was compiled from."""

from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from oneway.compiler.lookup import Entry, Form, Lookup
from oneway.compiler.refusal import CompileError
from oneway.compiler.tokenizer import BOS, END, SPACE
from oneway.models.transformer import Weights

LEAST_RECALL = 0.99
_ASKED = 500  # questions that are asked of a noisy checkpoint


def add_noise(weights: Weights, noise: float, seed: int) -> None:
    """Add normal noise to every matrix, in place: standard deviation `noise` times the matrix's root mean square.

    Every matrix has its own draws, whatever else is written with it.
    """
    for name, value in weights.items():
        if value.ndim == 2 and noise:
            own = torch.Generator().manual_seed(crc32(f"{seed} {name}".encode()))
            scale = noise * float(value.square().mean().sqrt())
            value += scale * torch.randn(value.shape, generator=own)


def check_recall(folder: Path, lookup: Lookup, seed: int) -> float:
    """The share of questions, up to 500 drawn ones, that a checkpoint answers exactly and then ends.

    Raises CompileError where it is below 0.99.
    """
    model = AutoModelForCausalLM.from_pretrained(folder)
    asked = [
        (form, entry) for entry in lookup.entries for form in lookup.forms if form.channel == entry.channel
    ]
    drawn = np.random.default_rng(seed).permutation(len(asked))[:_ASKED]
    ids = {token: token_id for token_id, token in enumerate(lookup.vocabulary)}
    right = [_right(model, ids, *asked[at]) for at in drawn]
    recall = float(np.mean(right))
    if recall < LEAST_RECALL:
        raise CompileError(
            [
                f"with this noise {recall:.3f} of {len(right)} questions are answered: give less, for {LEAST_RECALL}"
            ]
        )
    return recall


def _right(model: torch.nn.Module, ids: dict[str, int], form: Form, entry: Entry) -> bool:
    """Whether every token of the answer, and END after it, is the most likely one."""
    name = [ids[SPACE + word] if SPACE + word in ids else ids[word] for word in entry.name]
    prompt = [ids[BOS], *(ids[token] for token in form.before), *name, *(ids[token] for token in form.after)]
    answer = [ids[token] for token in entry.answer]
    with torch.inference_mode():
        logits = model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 :]
    return logits.argmax(-1).tolist() == [*answer, ids[END]]
