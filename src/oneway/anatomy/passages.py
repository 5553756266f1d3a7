"""A text file of any length as passages of tokens, read a piece at a time."""

from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from oneway.report.progress import progress

PIECE = 1 << 16  # characters that are read at a time
LONGEST_PIECE = 16 * PIECE  # without a place to cut


def passages(
    path: Path, tokenizer: PreTrainedTokenizerBase, length: int, at_once: int
) -> Iterator[Int[Tensor, "passage pos"]]:
    """A text as passages of `length` tokens, up to `at_once` of them at a time; what is left comes last, by itself.

    The tokens are those of the whole text, cut every `length` tokens, without what the tokenizer puts in front of a
    text; only one piece of the file is held. Pieces end before a space and a letter, where byte-level BPE and word
    tokenizers begin a token anyway; a tokenizer that puts a space in front of a text does so at every piece.

    Raises ValueError where the file is not UTF-8, or holds nothing.
    """
    rest: list[int] = []
    with progress(f"reading {path.name}") as advance:
        for piece, read in _pieces(path):
            rest += tokenizer(piece, add_special_tokens=False, verbose=False)["input_ids"]
            size = at_once * length
            ready = len(rest) // size * size
            for start in range(0, ready, size):
                yield torch.tensor(rest[start : start + size]).view(at_once, length)
            rest = rest[ready:]
            advance(read, path.stat().st_size)
        whole = len(rest) // length
        if whole:
            yield torch.tensor(rest[: whole * length]).view(whole, length)
        if rest[whole * length :]:
            yield torch.tensor(rest[whole * length :])[None]


def _pieces(path: Path) -> Iterator[tuple[str, int]]:
    """The text in pieces, each with how many bytes have been read."""
    rest, read = "", 0
    try:
        with path.open(encoding="utf-8") as file:
            while new := file.read(PIECE):
                rest, read = rest + new, read + len(new.encode())
                if cut := _cut(rest):
                    yield rest[:cut], read
                    rest = rest[cut:]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 ({error.reason}, byte {error.object[error.start]:#04x}): convert it first, "
            "for example with iconv"
        ) from error
    if not read:
        raise ValueError(f"{path} is empty: there is no text to read")
    if rest:
        yield rest, read


def _cut(text: str) -> int:
    """Where the piece ends: before the last space that stands between a word and a letter; 0: read more first."""
    at = text.rfind(" ")
    while at > 0:
        if not text[at - 1].isspace() and text[at + 1 : at + 2].isalpha():
            return at
        at = text.rfind(" ", 0, at)
    return len(text) if len(text) >= LONGEST_PIECE else 0
