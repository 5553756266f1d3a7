"""Tokenizers for the models grown here: one token a word, or byte-level BPE."""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

BOS, UNKNOWN = "<bos>", "<unk>"


def word_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """One token for each word and each mark of punctuation that occurs in the texts, and a BOS it prepends.

    Words are split at white space; . , ; : ! ? are tokens of their own wherever they stand, so that a name is
    the same tokens at the end of a sentence as inside it. Words that no text holds become `<unk>`.
    """
    tokenizer = Tokenizer(models.WordLevel({BOS: 0, UNKNOWN: 1}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex("[.,;:!?]"), "isolated")]
    )
    words = dict.fromkeys(
        word for text in texts for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)
    )
    vocabulary = {BOS: 0, UNKNOWN: 1} | {
        word: i for i, word in enumerate(sorted(words.keys() - {BOS, UNKNOWN}), start=2)
    }
    tokenizer.model = models.WordLevel(vocabulary, unk_token=UNKNOWN)
    return _finished(tokenizer)


def bpe_tokenizer(texts: Iterable[str], vocab: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE trained on the texts, at most `vocab` tokens, and a BOS it prepends.

    It knows every string: a word that was not in the texts becomes several tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[BOS, UNKNOWN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _finished(tokenizer)


def _finished(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    bos_id = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, bos_id)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=BOS, pad_token=BOS, unk_token=UNKNOWN
    )
