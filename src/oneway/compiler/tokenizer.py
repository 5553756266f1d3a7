"""Words as tokens: a word that follows a space carries it ("▁Tom"), so that decoding gives the text back.

Runs of white space count as one space, and the beginning of a text as one too. Hyphens and apostrophes inside a
word belong to it, all other signs and a closing 's are tokens of their own, wherever they stand.
"""

from collections.abc import Sequence
from functools import lru_cache

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

BOS, UNKNOWN, END = "<bos>", "<unk>", "<end>"
SPECIAL = (BOS, UNKNOWN, END)
SPACE = "▁"

_LETTER = r"[\p{L}\p{M}\p{N}]"
_INSIDE = rf"[-'’](?!s(?!{_LETTER})){_LETTER}+"
_TOKENS = rf"{SPACE}?{_LETTER}+(?:{_INSIDE})*|['’]s(?!{_LETTER})|{SPACE}?."


def text_tokens(text: str) -> tuple[str, ...]:
    """The tokens of a text, special ones aside."""
    splitter = _shared_splitter()
    normal = splitter.normalizer.normalize_str(text)
    return tuple(token for token, _ in splitter.pre_tokenizer.pre_tokenize_str(normal))


def word_of(token: str) -> str:
    """A token without the space it carries: the word that a name is recognised by."""
    return token.removeprefix(SPACE)


@lru_cache(maxsize=1)
def _shared_splitter() -> Tokenizer:
    return _splitter()


def make_tokenizer(vocabulary: Sequence[str], positions: int) -> PreTrainedTokenizerFast:
    """One token for each entry of the vocabulary, which begins with the special tokens; BOS is prepended.

    What the vocabulary does not hold becomes `<unk>`, one for each word.
    """
    ids = {token: token_id for token_id, token in enumerate(vocabulary)}
    tokenizer = _splitter()
    tokenizer.model = models.WordLevel(ids, unk_token=UNKNOWN)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Fuse(), decoders.Replace(SPACE, " "), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, ids[BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=END,
        unk_token=UNKNOWN,
        padding_side="left",
        model_max_length=positions,
    )


def _splitter() -> Tokenizer:
    """Normalises and splits, and knows no word yet."""
    tokenizer = Tokenizer(models.WordLevel({UNKNOWN: 0}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
            normalizers.Prepend(SPACE),
            normalizers.Replace(" ", SPACE),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_TOKENS), "isolated")
    return tokenizer
