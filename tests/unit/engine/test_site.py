import pytest
from tiny import LAYERS

from oneway.engine.site import Site, SiteError, checked, shape_of
from oneway.models.decoder import AttentionForm, Decoder

FORM = Decoder(
    family="test",
    vocab=101,
    context=64,
    layers=LAYERS,
    d_model=20,
    heads=4,
    kv_heads=2,
    d_head=5,
    d_mlp=34,
    block="sequential",
    norm="rms",
    epsilon=1e-6,
    activation="silu",
    attention=(AttentionForm(1.0, None, None),) * LAYERS,
)


def of_unknown_kind() -> Site:
    """As code without type checks may ask for."""
    site = Site("z")
    object.__setattr__(site, "kind", "resid")
    return site


@pytest.mark.parametrize(
    ("site", "said"),
    [
        (of_unknown_kind(), "'resid' is no kind of site"),
        (Site("z"), "z(): which layer? The model has layers 0 to 2"),
        (Site("z", 3), "z(layer 3): the model has layers 0 to 2"),
        (Site("z", -1), "z(layer -1): the model has layers 0 to 2"),
        (Site("logits", 1), "logits(layer 1): logits belongs to the whole model and has no layer"),
        (Site("q", 0, head=4), "q(layer 0, head 4): q has heads 0 to 3"),
        (Site("k", 0, head=2), "k(layer 0, head 2): k has heads 0 to 1"),
        (Site("mlp_out", 0, head=0), "mlp_out(layer 0, head 0): mlp_out has no heads"),
        (Site("mlp_post", 0, neuron=34), "mlp_post(layer 0, neuron 34): the MLP has neurons 0 to 33"),
        (Site("z", 0, neuron=0), "z(layer 0, neuron 0): z has no neurons"),
        (Site("z", 0, position=9), "the prompts have 9 tokens, so position 9 is outside them"),
        (Site("z", 0, position=-10), "the prompts have 9 tokens, so position -10 is outside them"),
    ],
    ids=lambda value: str(value) if isinstance(value, Site) else "",
)
def test_a_site_that_the_model_does_not_have_is_named_with_what_it_has(site, said):
    with pytest.raises(SiteError) as raised:
        checked(site, FORM, 9)
    assert said in str(raised.value)


def test_positions_may_count_from_the_end():
    assert checked(Site("z", 0, 1, -1), FORM, 9) == Site("z", 0, 1, 8)
    assert checked(Site("z", 0, 1), FORM, 9) == Site("z", 0, 1)


@pytest.mark.parametrize(
    ("site", "shape"),
    [
        (Site("q", 0), (7, 9, 4, 5)),
        (Site("k", 0), (7, 9, 2, 5)),
        (Site("v", 0, 1), (7, 9, 5)),
        (Site("pattern", 0), (7, 9, 4, 9)),
        (Site("pattern", 0, 2, 3), (7, 9)),
        (Site("head_out", 0, position=3), (7, 4, 20)),
        (Site("mlp_post", 0, neuron=3), (7, 9)),
        (Site("mlp_pre", 0, position=1), (7, 34)),
        (Site("logits", position=8), (7, 101)),
        (Site("embedding"), (7, 9, 20)),
    ],
    ids=str,
)
def test_shapes(site, shape):
    assert shape_of(site, FORM, batch=7, length=9) == shape
