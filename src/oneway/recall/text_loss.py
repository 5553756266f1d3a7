"""What a model makes of any text: nats per token, text by text, so that a fine-tune can be seen to cost something."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from oneway.models.checkpoint import Checkpoint
from oneway.models.placement import entry
from oneway.report.progress import progress

WINDOW = 512  # tokens that are read at once, at most
TOKENS_AT_ONCE = 8192


@dataclass(frozen=True, slots=True)
class TextLoss:
    """Of every text the sum of −ln p of its tokens given those before, in nats, and how many tokens were predicted."""

    nats: Float[np.ndarray, " text"]
    tokens: Int[np.ndarray, " text"]

    @property
    def mean(self) -> float:
        """Nats per token over all texts."""
        return float(self.nats.sum() / self.tokens.sum())

    @property
    def by_text(self) -> Float[np.ndarray, " text"]:
        """Nats per token of each text."""
        return self.nats / self.tokens


def text_loss(checkpoint: Checkpoint, texts: Sequence[str]) -> TextLoss:
    """The loss of texts under a model, each read by itself; a long one in pieces of `WINDOW` tokens or fewer.

    Raises ValueError where there is no text, or one of a single token, whose loss is not defined.
    """
    window = min(WINDOW, checkpoint.positions or WINDOW)
    encoded = [tokens_of(checkpoint, text) for text in texts]
    if not texts:
        raise ValueError("there is no text")
    pieces = [
        (row, ids[at : at + window])
        for row, ids in enumerate(encoded)
        for at in range(
            0, len(ids) - 1, window - 1
        )  # the first token of a piece is the last of the one before
    ]
    pieces.sort(key=lambda piece: len(piece[1]))
    nats, tokens = np.zeros(len(texts)), np.zeros(len(texts), dtype=np.int64)
    with progress("other text") as advance:
        done = 0
        while done < len(pieces):
            some = _batch(pieces[done:])
            losses = _losses(checkpoint, [ids for _, ids in some])
            for (row, ids), loss in zip(some, losses, strict=True):
                nats[row] += loss
                tokens[row] += len(ids) - 1
            advance(done := done + len(some), len(pieces))
    return TextLoss(nats, tokens)


def tokens_of(checkpoint: Checkpoint, text: str) -> list[int]:
    """Raises ValueError where a text has fewer than two tokens: its loss is not defined."""
    ids: list[int] = checkpoint.tokenizer(text)["input_ids"]
    if len(ids) < 2:
        raise ValueError(f"a text needs two tokens to have a loss: {text!r}")
    return ids


def _batch(pieces: Sequence[tuple[int, list[int]]]) -> list[tuple[int, list[int]]]:
    """As many of the next pieces, which grow, as fit in TOKENS_AT_ONCE when padded; one at least."""
    count = 1
    while count < len(pieces) and (count + 1) * len(pieces[count][1]) <= TOKENS_AT_ONCE:
        count += 1
    return list(pieces[:count])


@torch.inference_mode()
def _losses(checkpoint: Checkpoint, pieces: Sequence[list[int]]) -> list[float]:
    model, longest = checkpoint.model, max(map(len, pieces))
    tokens = torch.zeros(len(pieces), longest, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for row, ids in enumerate(pieces):
        tokens[row, : len(ids)], mask[row, : len(ids)] = torch.tensor(ids), 1
    device = entry(model)
    logits = model(
        input_ids=tokens.to(device), attention_mask=mask.to(device), use_cache=False
    ).logits.float()
    nll = torch.nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), tokens[:, 1:].to(logits.device), reduction="none"
    )
    return (nll.cpu().double() * mask[:, 1:]).sum(1).tolist()
