"""What kind of token a token is: punctuation, a common word, another word, a piece of one."""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Int
from transformers import PreTrainedTokenizerBase

TokenClass = Literal["newline", "full stop", "comma", "common word", "word", "word piece", "other"]
CLASSES: tuple[TokenClass, ...] = get_args(TokenClass)
# Groups that are reported beside the classes.
GROUPS: dict[str, tuple[TokenClass, ...]] = {
    "all": CLASSES,
    "alphabetic": ("word", "word piece"),
    "punctuation and common words": ("newline", "full stop", "comma", "common word"),
}
BEGINS_WORD = ("Ġ", "▁")  # how byte-level BPE and SentencePiece write the space before a word
# The function words among the hundred commonest words of English.
COMMON_WORDS = (
    "the of and a to in is it that was he she they we i you his her their its for on as with at by be this had not are "
    "but from or have an which one were all there when who will more if no out so what up about into than them can "
    "would like has only other new some could these two may then do any my now such"
)


COMMON = frozenset(COMMON_WORDS.split())


def token_classes(tokenizer: PreTrainedTokenizerBase, vocab: int) -> Int[np.ndarray, " vocab"]:
    """The class of every token id, as its number in `CLASSES`; ids that the tokenizer does not have are "other".

    A *word* is a token of letters that begins a word, a *word piece* one that goes on with a word. Where no token of
    the tokenizer says whether it begins a word, every token of letters is a word.

    Source: the Fact Finding sequence (Nanda et al. 2023), post 5, with alphabetic tokens told apart.
    """
    names = tokenizer.convert_ids_to_tokens(range(min(vocab, len(tokenizer))))
    marked = any(str(name).startswith(BEGINS_WORD) for name in names)
    special = set(tokenizer.all_special_ids)
    found = np.full(vocab, CLASSES.index("other"))
    for token_id, name in enumerate(names):
        if name is not None and token_id not in special:
            begins = not marked or str(name).startswith(BEGINS_WORD)
            found[token_id] = CLASSES.index(_class_of(tokenizer.decode([token_id]), begins))
    return found


def _class_of(text: str, begins: bool) -> TokenClass:
    bare = text.strip()
    if not bare:
        return "newline" if "\n" in text else "other"
    if bare == ".":
        return "full stop"
    if bare == ",":
        return "comma"
    if not bare.isalpha():
        return "other"
    # A capital begins a word where a line does, without a space before it.
    if not begins and not bare[0].isupper():
        return "word piece"
    return "common word" if bare.lower() in COMMON else "word"
