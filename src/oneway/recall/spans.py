"""The one place where character spans become token positions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from transformers import PreTrainedTokenizerFast

from oneway.recall.chat import Chat
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

    With a chat, prompt and answer stand inside its turns. Its template brings the special tokens, so that the
    tokenizer adds none, and only those beyond the template's own are flagged.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, chat: Chat | None = None) -> None:
        self._tokenizer = tokenizer
        self.chat = chat
        added = tokenizer.added_tokens_decoder.items()
        self._special = frozenset(tokenizer.all_special_ids) | {i for i, token in added if token.special}
        self.in_front: Tokens = ()
        (probe,) = self._encode(["a"])
        self.in_front = probe.tokens[: probe.inserted]

    def split(self, prompts: Sequence[str], answers: Sequence[str]) -> list[Split]:
        """The exact split of each prompt with its answer, from the tokens of the whole text."""
        if self.chat is not None:
            answers = [
                self.chat.answer(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)
            ]
        distinct = list(dict.fromkeys(prompts))
        shown = [(prompt, 0) for prompt in distinct] if self.chat is None else self.chat.prompts(distinct)
        tokens = [encoded.tokens for encoded in self._encode([text for text, _ in shown])]
        asked = {
            prompt: _Asked(text, start, start + len(prompt), own)
            for prompt, (text, start), own in zip(distinct, shown, tokens, strict=True)
        }
        texts = [asked[prompt].text + answer for prompt, answer in zip(prompts, answers, strict=True)]
        return [
            _cut(whole, asked[prompt]) for whole, prompt in zip(self._encode(texts), prompts, strict=True)
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

    def names(self, names: Sequence[str]) -> list[Tokens | None]:
        """The tokens of each name as it follows a word; None where it has special or unknown ones, or none."""
        splits = self.split(["a"] * len(names), [f" {name}" for name in names])
        return [None if self._special & {*found.answer} else found.answer or None for found in splits]

    def _encode(self, texts: Sequence[str]) -> "list[_Encoded]":
        found: list[_Encoded] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            batch = self._tokenizer(
                list(texts[start : start + TEXTS_AT_ONCE]),
                return_offsets_mapping=True,
                return_special_tokens_mask=True,
                return_attention_mask=False,
                add_special_tokens=self.chat is None,
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
        own = zip(ids[:length], inserted[:length], offsets[:length], strict=True)
        return _Encoded(
            tokens=tuple(ids[:length]),
            ends=tuple(end for _, end in offsets[:length]),
            inserted=next((i for i, mark in enumerate(inserted) if not mark), 0),
            special=tuple(at for token, mark, at in own if token in self._special and not mark),
        )


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A text's tokens without the special ones added behind it; `ends` and `special` are character offsets."""

    tokens: Tokens
    ends: tuple[int, ...]
    inserted: int  # how many special tokens the tokenizer put in front
    special: tuple[tuple[int, int], ...]  # where the text itself has special tokens


@dataclass(frozen=True, slots=True)
class _Asked:
    """A prompt as it is read: the text up to the answer, where in it the prompt stands, and its tokens."""

    text: str
    start: int
    end: int
    tokens: Tokens


def _cut(whole: _Encoded, asked: _Asked) -> Split:
    boundary = len(asked.text)
    # The special tokens of a chat's template stand outside of the prompt and before the answer.
    odd = any(end > boundary or (end > asked.start and begin < asked.end) for begin, end in whole.special)
    flags = (SPECIAL,) if odd else ()
    if whole.tokens[: len(asked.tokens)] == asked.tokens:
        return Split(asked.tokens, whole.tokens[len(asked.tokens) :], flags)
    first = next((i for i, end in enumerate(whole.ends) if end > boundary), len(whole.ends))
    return Split(whole.tokens[:first], whole.tokens[first:], (BOUNDARY, *flags))
