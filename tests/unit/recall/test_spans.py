"""From characters to tokens: clean cuts, straddling tokens, special tokens in front, behind and inside."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from oneway.models.tokens import bpe_tokenizer, word_tokenizer
from oneway.recall.spans import BOUNDARY, SPECIAL, Split, Splitter

TEXTS = ["Tim Duncan plays basketball", "Zoë Kravitz acts", "The mother of Zoë Kravitz is Lisa Bonet"]


def words_without_spaces(in_front: str = "", behind: str = "") -> PreTrainedTokenizerFast:
    """A vocabulary of letters and `ab`, merged wherever they meet; special tokens at the ends as asked."""
    vocabulary = {"a": 0, "b": 1, "ab": 2, " ": 3, "<s>": 4, "</s>": 5}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("a", "b")]))
    single = " ".join(part for part in (in_front, "$A", behind) if part)
    special = [(token, vocabulary[token]) for token in (in_front, behind) if token]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def test_a_prompt_whose_tokens_begin_the_text_is_the_context():
    splitter = Splitter(words_without_spaces())
    assert splitter.split(["ab b"], [" a"]) == [Split((2, 3, 1), (3, 0))]


def test_a_straddling_token_belongs_to_the_answer_and_is_flagged():
    splitter = Splitter(words_without_spaces())
    assert splitter.split(["b a"], ["b a"]) == [Split((1, 3), (2, 3, 0), (BOUNDARY,))]


def test_a_bos_is_context_and_an_eos_is_dropped():
    splitter = Splitter(words_without_spaces("<s>", "</s>"))
    assert splitter.in_front == (4,)
    assert splitter.split(["a", "", "a"], [" b", "ab", ""]) == [
        Split((4, 0), (3, 1)),
        Split((4,), (2,)),
        Split((4, 0), ()),
    ]
    assert splitter.split(["a"], ["b"]) == [Split((4,), (2,), (BOUNDARY,))]


def test_without_a_bos_an_empty_prompt_has_no_context():
    assert Splitter(words_without_spaces()).split([""], ["ab"]) == [Split((), (2,))]


def test_special_and_unknown_tokens_in_a_name_are_flagged():
    byte_level, by_word = Splitter(bpe_tokenizer(TEXTS, 300)), Splitter(word_tokenizer(TEXTS))
    (inside,) = byte_level.split(["Tim <bos> plays"], [" basketball"])
    assert inside.flags == (SPECIAL,)
    assert byte_level.split(["Tim Duncan plays"], [" basketball"])[0].flags == ()
    (unknown,) = by_word.split(["Tim Nobody plays"], [" basketball"])
    assert unknown.flags == (SPECIAL,)


@pytest.mark.parametrize("tokenizer", [bpe_tokenizer(TEXTS, 300), word_tokenizer(TEXTS)])
def test_context_and_answer_are_the_tokens_of_the_whole_text(tokenizer):
    prompts = ["The mother of Zoë Kravitz is", "Tim Duncan plays", "(", "The mother of Zoë Kravitz is Lisa"]
    answers = [" Lisa Bonet", " basketball", "Tim", " Bonet"]
    for prompt, answer, split in zip(
        prompts, answers, Splitter(tokenizer).split(prompts, answers), strict=True
    ):
        assert [*split.context, *split.answer] == tokenizer(prompt + answer)["input_ids"]


def test_after_words_gives_the_tokens_that_whole_texts_give_and_none_where_it_cannot():
    splitter = Splitter(bpe_tokenizer(TEXTS, 300))
    (whole,) = splitter.split(["The mother of Zoë Kravitz is"], [" Lisa Bonet"])
    assert splitter.after_words(["is"], [" Lisa Bonet"]) == [whole.answer]
    over_spaces = Tokenizer(models.BPE({"a": 0, "b": 1, " ": 2, "a ": 3}, [("a", " ")]))
    fast = PreTrainedTokenizerFast(tokenizer_object=over_spaces)
    assert Splitter(fast).after_words(["a", "b"], [" b", " b"]) == [None, (2, 1)]


def test_more_texts_than_are_tokenized_at_once(monkeypatch):
    monkeypatch.setattr("oneway.recall.spans.TEXTS_AT_ONCE", 2)
    splitter = Splitter(word_tokenizer(TEXTS))
    prompts = ["Tim", "Zoë", "Tim Duncan", "The", "The mother"]
    one_by_one = [splitter.split([prompt], [" of"])[0] for prompt in prompts]
    assert splitter.split(prompts, [" of"] * 5) == one_by_one


def test_offsets_count_characters_of_the_text_not_of_its_bytes():
    """A byte-level token inside "ë" ends after the whole character."""
    tokenizer = Tokenizer(
        models.BPE({"Ã": 0, "«": 1, "Z": 2, "Zo": 3, "o": 4, "oÃ": 5}, [("Z", "o"), ("o", "Ã")])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    splitter = Splitter(PreTrainedTokenizerFast(tokenizer_object=tokenizer))
    assert splitter.split(["Zo"], ["ë"]) == [Split((3,), (0, 1))]
    assert splitter.split(["o"], ["ë"]) == [Split((), (5, 1), (BOUNDARY,))]
