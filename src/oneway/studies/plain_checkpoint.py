"""A checkpoint through plain `transformers`: greedy answers, and units taken out by hooks."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

Unit = tuple[int, int]  # layer, head or neuron


@dataclass(frozen=True, slots=True)
class Asked:
    """Prompts with their answers and the end in one row each, padded at the end; `given` tokens are the prompt's."""

    ids: Int[Tensor, "question pos"]
    mask: Int[Tensor, "question pos"]
    given: Int[Tensor, " question"]


class PlainCheckpoint:
    """A GPT-2 or NeoX checkpoint that was compiled; its tokenizer prepends BOS."""

    def __init__(self, folder: Path) -> None:
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    def tokens(self, text: str) -> list[str]:
        """The tokens of a text, without BOS."""
        found: list[str] = self.tokenizer.convert_ids_to_tokens(self.tokenizer(text)["input_ids"])[1:]
        return found

    def say(self, prompts: Sequence[str], batch: int = 256) -> list[str]:
        """What greedy `generate` says after each prompt, up to the end token."""
        order = sorted(range(len(prompts)), key=lambda row: prompts[row].count(" "))
        said = [""] * len(prompts)
        for start in range(0, len(prompts), batch):
            rows = order[start : start + batch]
            given = self.tokenizer([prompts[row] for row in rows], return_tensors="pt", padding=True)
            with torch.inference_mode():
                out = self.model.generate(**given, max_new_tokens=8, do_sample=False)
            texts = self.tokenizer.batch_decode(
                out[:, given["input_ids"].shape[1] :], skip_special_tokens=True
            )
            for row, text in zip(rows, texts, strict=True):
                said[row] = text
        return said

    def asked(self, prompts: Sequence[str], answers: Sequence[str]) -> Asked:
        """The rows to ask again and again."""
        end = self.tokenizer.eos_token_id
        given = [self.tokenizer(prompt)["input_ids"] for prompt in prompts]
        rows = [
            ids + self.tokenizer(f" {a}")["input_ids"][1:] + [end]
            for ids, a in zip(given, answers, strict=True)
        ]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [end] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return Asked(ids, mask, torch.tensor(list(map(len, given))))

    def recalled(
        self, asked: Asked, batch: int = 256
    ) -> tuple[Bool[np.ndarray, " question"], Bool[np.ndarray, " question"]]:
        """Of every question: whether all of the answer and the end after it, and whether its first token is
        likeliest."""
        whole, first = [], []
        for rows in torch.arange(len(asked.ids)).split(batch):
            ids, mask, given = asked.ids[rows], asked.mask[rows], asked.given[rows]
            with torch.inference_mode():
                best = self.model(input_ids=ids, attention_mask=mask).logits.argmax(-1)
            at = torch.arange(1, ids.shape[1])
            right = best[:, :-1] == ids[:, 1:]
            matters = (at >= given[:, None]) & (mask[:, 1:] == 1)
            whole.append((right | ~matters).all(1))
            first.append(right.gather(1, given[:, None] - 1).squeeze(1))
        return torch.cat(whole).numpy(), torch.cat(first).numpy()

    @contextmanager
    def without(self, heads: Iterable[Unit], neurons: Iterable[Unit]) -> Iterator[None]:
        """What these heads bring and these neurons' activations are zero."""
        gpt2 = hasattr(self.model, "transformer")
        blocks = self.model.transformer.h if gpt2 else self.model.gpt_neox.layers
        width = self.model.config.hidden_size // self.model.config.num_attention_heads
        handles = []
        for units, size, into in ((heads, width, _attention_out), (neurons, 1, _mlp_out)):
            of_layer: dict[int, list[int]] = {}
            for layer, unit in units:
                of_layer.setdefault(layer, []).extend(range(unit * size, (unit + 1) * size))
            handles += [
                into(blocks[layer]).register_forward_pre_hook(_silencer(dims))
                for layer, dims in of_layer.items()
            ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _attention_out(block: Any) -> Any:
    return block.attn.c_proj if hasattr(block, "attn") else block.attention.dense


def _mlp_out(block: Any) -> Any:
    return block.mlp.c_proj if hasattr(block.mlp, "c_proj") else block.mlp.dense_4h_to_h


def _silencer(dims: list[int]) -> Callable[[Any, tuple[Tensor, ...]], tuple[Tensor, ...]]:
    def silence(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden = inputs[0].clone()
        hidden[..., dims] = 0
        return (hidden, *inputs[1:])

    return silence
