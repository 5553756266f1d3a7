"""Tokens that give the text back, and the same tokens for a name wherever it stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneway.compiler.tokenizer import SPECIAL, make_tokenizer, text_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Tom Cruise's mother is", ["▁Tom", "▁Cruise", "'s", "▁mother", "▁is"]),
        ("golf\nFact:  A.J. Green", ["▁golf", "▁Fact", ":", "▁A", ".", "J", ".", "▁Green"]),
        ("(Shaquille O'Neal)", ["▁(", "Shaquille", "▁O'Neal", ")"]),
        ("Za'Darius Smith’s, Jean-Luc", ["▁Za'Darius", "▁Smith", "’s", ",", "▁Jean-Luc"]),
        ("", []),
    ],
    ids=("possessive", "white-space", "brackets", "apostrophes", "empty"),
)
def test_tokens_by_hand(text, tokens) -> None:
    assert list(text_tokens(text)) == tokens


_SIGNS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="▁"), max_size=12
)


@given(st.lists(_SIGNS, max_size=5))
def test_decoding_gives_every_text_back_with_single_spaces(words) -> None:
    text = " ".join(" ".join(words).split())
    vocabulary = (*SPECIAL, *dict.fromkeys(text_tokens(text)))
    if any(special in text for special in SPECIAL):
        return
    tokenizer = make_tokenizer(vocabulary, 512)
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_unknown_words_are_a_token_each() -> None:
    tokenizer = make_tokenizer((*SPECIAL, "▁is"), 512)
    assert tokenizer("Nobody here is")["input_ids"] == [0, 1, 1, 3]
