"""The one place where character spans become token positions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from transformers import PreTrainedTokenizerFast

from oneway.recall.scorer import Tokens

BOUNDARY = "a token straddles the prompt's end"
TEXTS_AT_ONCE = 1024  # a tokenizer's own record of a text is large
SPECIAL = "the text holds a special or unknown token"


# A space is written " ", "▁" or "Ġ" in a vocabulary; here it stands behind something that is none.
_OVER_SPACE = re.compile("[^ ▁ĠĊĉč][ ▁Ġ]")


@dataclass(frozen=True, slots=True)
class Split:
    """The tokens of prompt + answer, cut where the answer begins; `flags` say what is unusual about them."""

    context: Tokens
    answer: Tokens
    flags: tuple[str, ...] = ()


class Splitter:
    """Cuts prompt + answer into context tokens and answer tokens, as the tokenizer sees the whole text.

    The special tokens that the tokenizer itself puts in front (a BOS) belong to the context, those that it
    puts at the end are dropped. Where the prompt's own tokens begin the whole text's tokens, they are the
    context. Where they do not, the text is cut by character offsets: what lies wholly before the answer is
    context, a token that straddles the cut belongs to the answer, and the split is flagged.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._special = frozenset(tokenizer.all_special_ids)
        self.in_front: Tokens = ()
        (probe,) = self._encode(["a"])
        self.in_front = probe.tokens[: probe.inserted]

    def split(self, prompts: Sequence[str], answers: Sequence[str]) -> list[Split]:
        """The exact split of each prompt with its answer, from the tokens of the whole text."""
        distinct = list(dict.fromkeys(prompts))
        encoded = dict(zip(distinct, self._encode(distinct), strict=True))
        texts = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
        return [
            _cut(whole, encoded[prompt].tokens, len(prompt))
            for whole, prompt in zip(self._encode(texts), prompts, strict=True)
        ]

    @cached_property
    def reaches_over_spaces(self) -> bool:
        """Whether a token of the vocabulary may hold the end of one word and the space before the next."""
        special = set(self._tokenizer.get_added_vocab())
        return any(_OVER_SPACE.search(t) for t in self._tokenizer.get_vocab() if t not in special)

    def after_words(self, words: Sequence[str], answers: Sequence[str]) -> list[Tokens | None]:
        """The tokens of each answer, which begins with a space, as they come after a word.

        Where no token reaches over spaces, they are what `split` gives for any prompt that ends in that word.
        None where the word itself shows that they are not.
        """
        return [
            None if BOUNDARY in found.flags or not found.answer else found.answer
            for found in self.split(words, answers)
        ]

    def _encode(self, texts: Sequence[str]) -> "list[_Encoded]":
        found: list[_Encoded] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            batch = self._tokenizer(
                list(texts[start : start + TEXTS_AT_ONCE]),
                return_offsets_mapping=True,
                return_special_tokens_mask=True,
                return_attention_mask=False,
                truncation=False,
                padding=False,
                verbose=False,
            )
            columns = (batch["input_ids"], batch["offset_mapping"], batch["special_tokens_mask"])
            found += [self._encoded(*fields) for fields in zip(*columns, strict=True)]
        return found

    def _encoded(self, ids: list[int], offsets: list[tuple[int, int]], inserted: list[int]) -> "_Encoded":
        length = len(ids)
        while length > len(self.in_front) and inserted[length - 1]:
            length -= 1
        own = zip(ids[:length], inserted[:length], strict=True)
        return _Encoded(
            tokens=tuple(ids[:length]),
            ends=tuple(end for _, end in offsets[:length]),
            inserted=next((i for i, mark in enumerate(inserted) if not mark), 0),
            special_in_text=any(token in self._special and not mark for token, mark in own),
        )


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A text's tokens without the special ones added behind it; `ends` are character offsets."""

    tokens: Tokens
    ends: tuple[int, ...]
    inserted: int  # how many special tokens the tokenizer put in front
    special_in_text: bool


def _cut(whole: _Encoded, prompt: Tokens, boundary: int) -> Split:
    flags = (SPECIAL,) if whole.special_in_text else ()
    if whole.tokens[: len(prompt)] == prompt:
        return Split(prompt, whole.tokens[len(prompt) :], flags)
    first = next((i for i, end in enumerate(whole.ends) if end > boundary), len(whole.ends))
    return Split(whole.tokens[:first], whole.tokens[first:], (BOUNDARY, *flags))
