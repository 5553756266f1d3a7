"""The tokens of a batch are those of each whole text, by whichever way they were found."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from oneway.facts import Direction, Fact, FactTable, Relation
from oneway.facts.rendering import questions
from oneway.models.tokens import bpe_tokenizer, word_tokenizer
from oneway.recall.asking import AuditConfig, gather, tokenize
from oneway.recall.candidates import Pools
from oneway.recall.spans import Splitter

MOTHER = Relation(
    "mother",
    ("The mother of {subject} is {object}", "{subject}, {object}"),
    ("{object} is the mother of {subject}", '{object} ("{subject}")', "{object}'s {subject}"),
)
NAMES = [f"{first} {last}" for first in ["Ann", "Zoë", "Cid"] for last in ["de la Lee", "O'Roe", "Poe-Li"]]
TABLE = FactTable(
    tuple(Fact(a, "mother", b) for a, b in zip(NAMES, NAMES[::-1], strict=True)), {"mother": MOTHER}
)
TEXTS = [f"The mother of {f.subject} is {f.object}. {f.object} is the mother of {f.subject}" for f in TABLE]


def over_spaces() -> PreTrainedTokenizerFast:
    """Pieces that hold parts of two words: nothing keeps a merge from reaching over a space."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize(
    ("tokenizer", "reaches"),
    [(bpe_tokenizer(TEXTS, 300), False), (word_tokenizer(TEXTS), False), (over_spaces(), True)],
    ids=["bpe", "word", "over spaces"],
)
def test_every_pair_has_the_tokens_of_its_whole_text(tokenizer, reaches):
    splitter = Splitter(tokenizer)
    assert splitter.reaches_over_spaces == reaches
    asks = gather(questions(TABLE), TABLE.facts, Pools(TABLE), AuditConfig())
    batch = tokenize(asks, splitter, None)
    pairs = batch.pairs
    assert len(pairs) == sum(len(ask.candidates.all) for ask in asks)
    for ask in asks:
        assert not ask.skipped
        for (context, answer), place in zip(pairs[ask.first :], ask.candidates.all, strict=False):
            (whole,) = splitter.split([ask.prompt], [ask.answer(place)])
            assert (batch.contexts[context], batch.answers[answer]) == (whole.context, whole.answer)


def test_prompts_that_end_in_one_word_share_their_answers_tokens():
    """Nine forward prompts that end in "is", nine answers: not 81 texts."""
    splitter = Splitter(bpe_tokenizer(TEXTS, 300))
    asked = [q for q in questions(TABLE, (Direction.FORWARD,)) if q.template_index == 0]
    asks = gather(asked, TABLE.facts, Pools(TABLE), AuditConfig())
    batch = tokenize(asks, splitter, None)
    assert (len(batch.contexts), len(batch.answers), len(batch.pairs)) == (9, 9, 81)


def test_without_the_check_of_the_vocabulary_the_exact_splits_still_differ_and_are_taken(monkeypatch):
    monkeypatch.setattr(Splitter, "reaches_over_spaces", False)
    splitter = Splitter(over_spaces())
    asked = [q for q in questions(TABLE, (Direction.FORWARD,)) if q.template_index == 0]
    asks = gather(asked, TABLE.facts, Pools(TABLE), AuditConfig())
    batch = tokenize(asks, splitter, None)
    assert len(batch.answers) > 9
    for ask in asks:
        (context, answer) = batch.pairs[ask.first]
        (whole,) = splitter.split([ask.prompt], [ask.answer(ask.candidates.all[0])])
        assert (batch.contexts[context], batch.answers[answer]) == (whole.context, whole.answer)
