"""MLPs written out: the table that is used, and losses under it, against a compiled model and plain loops."""

import numpy as np
import pytest
import torch
from tiny import VOCAB, tiny_model

from oneway.anatomy.written_out import (
    Text,
    WrittenOut,
    empty_table,
    losses,
    name_entries,
    shuffled,
    token_entries,
)
from oneway.engine import Engine, Site
from oneway.engine.prepared import Prepared
from oneway.models.families import read_decoder


def texts(count: int = 5, seed: int = 0) -> list[Text]:
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(1, VOCAB, size=int(length)) for length in rng.integers(4, 7, size=count)]
    return [Text(tokens, np.arange(len(tokens)) % 2 == 1) for tokens in drawn]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(Prepared(*read_decoder(tiny_model("llama3"))))


def test_the_longest_entry_that_ends_on_a_token_is_taken():
    one, two, three = (torch.full((2, 3), float(value)) for value in (1, 2, 3))
    table = WrittenOut((0, 1), torch.zeros(2, 3), {(7,): one, (5, 7): two, (4, 5, 7): three})
    found = table.outputs(torch.tensor([[7, 5, 7, 4, 5, 7, 9]]))
    assert found.shape == (2, 1, 7, 3)
    assert found[1, 0, :, 2].tolist() == [1, 0, 2, 0, 0, 3, 0]
    more = table.with_entries({(9,): one})
    assert more.outputs(torch.tensor([[9, 7]]))[0, 0, :, 0].tolist() == [1, 1]


def test_losses_are_those_of_the_whole_model_and_a_full_table_changes_nothing(engine):
    """Entries for every beginning of every text are the MLPs themselves."""
    own, layers = texts(), range(engine.layers)
    found = losses(engine, own)
    for text, nats in zip(own, found, strict=True):
        logits = engine.run(torch.from_numpy(text.tokens)[None], [Site("logits")])[Site("logits")][0]
        places = np.flatnonzero(text.target)
        expected = -logits.log_softmax(-1)[places - 1, text.tokens[places]]
        torch.testing.assert_close(nats.float(), expected, rtol=0, atol=1e-4)
    beginnings = {tuple(text.tokens[:end].tolist()) for text in own for end in range(1, len(text.tokens) + 1)}
    full = empty_table(engine, layers, own).with_entries(name_entries(engine, layers, sorted(beginnings)))
    for before, after in zip(found, losses(engine, own, full), strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=1e-3)


def test_means_over_a_text_by_hand(engine):
    own, layers = texts(3), [0, 2]
    outputs: dict[int, list[torch.Tensor]] = {}
    for text in own:
        sites = [Site("mlp_out", layer) for layer in layers]
        found = engine.run(torch.from_numpy(text.tokens)[None], sites)
        for place, token in enumerate(text.tokens.tolist()):
            outputs.setdefault(token, []).append(torch.stack([found[site][0, place] for site in sites]))
    every = [one for own in outputs.values() for one in own]
    table = empty_table(engine, layers, own)
    torch.testing.assert_close(table.mean, torch.stack(every).mean(0), rtol=0, atol=1e-4)
    assert not table.entries, "there is no tokenizer, and so no BOS"
    by_token = token_entries(engine, layers, own)
    assert by_token.keys() == {(token,) for token in outputs}
    for token, values in outputs.items():
        torch.testing.assert_close(by_token[(token,)], torch.stack(values).mean(0), rtol=0, atol=1e-4)


def test_shuffled_entries_all_change_places():
    entries = {(number,): torch.full((1, 1), float(number)) for number in range(9)}
    found = shuffled(entries, seed=1)
    assert found.keys() == entries.keys()
    assert sorted(float(value) for value in found.values()) == list(range(9))
    assert all(float(value) != key[0] for key, value in found.items())
    with pytest.raises(ValueError, match="cannot be shuffled"):
        shuffled({(1,): torch.zeros(1, 1)}, 0)


def test_of_a_compiled_lookup_names_recover_all_that_single_tokens_leave(known):
    """Facts written into neurons: all MLPs as a table. Without single tokens the question's words are not read."""
    asked, layers = known.asked, range(known.engine.layers)
    ids = torch.cat((asked.tokens, asked.right_token[:, None]), dim=1).numpy()
    own = [Text(row, np.arange(len(row)) == len(row) - 1) for row in ids]
    names = {tuple(row[asked.name.start : asked.name.stop].tolist()) for row in asked.tokens}
    mean = empty_table(known.engine, layers, own)
    entries = name_entries(known.engine, layers, sorted(names))
    single = mean.with_entries(token_entries(known.engine, layers, own))

    def nats(table: WrittenOut | None) -> float:
        return float(torch.cat(losses(known.engine, own, table)).mean())

    assert nats(None) == pytest.approx(0, abs=1e-3)
    assert nats(single) > 2
    assert nats(single.with_entries(entries)) == pytest.approx(0, abs=1e-2)
    assert nats(single.with_entries(shuffled(entries, 0))) > nats(single)
    assert nats(mean.with_entries(entries)) == pytest.approx(nats(mean), abs=0.1)
