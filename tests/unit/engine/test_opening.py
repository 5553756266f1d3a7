"""What a model shows when it is opened, and what is said where it cannot be opened or has not this or that."""

import pytest
import torch
from tiny import tiny_model
from transformers import PreTrainedModel

from oneway.compiler import compile_table
from oneway.engine import (
    Engine,
    LogitDifference,
    LogProbability,
    Mean,
    NotProven,
    Patch,
    PatchError,
    Path,
    Residual,
    Site,
    SiteError,
    Zero,
)
from oneway.engine.opening import open_model, opened_checkpoint, prove_model
from oneway.engine.proof import prove
from oneway.facts import Fact, FactTable, Relation
from oneway.models.checkpoint import Checkpoint, CheckpointError
from oneway.models.tokens import word_tokenizer

WORDS = [f"w{number}" for number in range(90)]


def checkpoint(model):
    return Checkpoint(model, word_tokenizer([" ".join(WORDS)]), "m")


def test_every_family_proves_itself(model, engine):
    proof = prove(engine, model)
    proof.check()
    assert proof.difference < 1e-5
    assert set(proof.sites) == set(engine.kinds)
    assert all(site.moved > 1e-3 for site in proof.sites.values())


def test_a_model_that_computes_something_else_is_not_proven(engine, model):
    """As one whose code was changed in memory: here, its embedding."""
    other = type(model)(model.config).eval()
    proof = prove(engine, other)
    assert not proof.holds
    with pytest.raises(NotProven, match=r"the engine's logits differ by .* from the plain model's"):
        proof.check()


def zeroed(part: str) -> PreTrainedModel:
    """A Llama with grouped queries, something in its layer 1 exactly zero."""
    model = tiny_model("llama3")
    layer = model.model.layers[1]
    with torch.no_grad():
        match part:
            case "MLP":
                layer.mlp.down_proj.weight.zero_()
            case "gate":
                layer.mlp.up_proj.weight.zero_()
            case "attention":
                layer.self_attn.o_proj.weight.zero_()
            case "a head":
                layer.self_attn.o_proj.weight[:, 10:20] = 0
            case "queries of some, values of others":
                layer.self_attn.q_proj.weight[:20] = 0  # heads 0 and 1, of the first key-value head
                layer.self_attn.v_proj.weight[10:] = 0  # the second
    return model


@pytest.mark.parametrize(
    ("part", "unmoved"),
    [
        (
            "MLP",
            {
                "mlp_in(layer 1)": "W_out of every neuron is zero",
                "mlp_pre(layer 1)": "W_out of every neuron is zero",
                "mlp_post(layer 1)": "W_out of every neuron is zero",
            },
        ),
        (
            "gate",
            {
                "mlp_in(layer 1)": "W_up of every neuron is zero",
                "mlp_pre(layer 1)": "W_up of every neuron is zero",
            },
        ),
        (
            "attention",
            {f"{kind}(layer 1)": "W_O of every head is zero" for kind in ("q", "k", "v", "pattern", "z")},
        ),
        ("a head", {}),
        (
            "queries of some, values of others",
            {"k(layer 1)": "W_Q or W_V of every head is zero"},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_checkpoint_does_not_use_is_named_and_no_failure(part, unmoved):
    model = zeroed(part)
    proof = prove(opened_checkpoint(checkpoint(model)), model)
    proof.check()
    assert proof.unmoved == {site: f"unused, since {why}" for site, why in unmoved.items()}
    assert all(site.moved > 1e-3 for site in proof.sites.values()), "in the other layers"
    for site, why in unmoved.items():
        assert any(line.startswith(f"unused, since {why}") and site in line for line in proof.lines())


@pytest.mark.parametrize("kind", ["z", "q", "mlp_pre", "mlp_in", "resid_pre", "attn_out"])
def test_an_engine_that_ignores_an_edit_is_not_proven(kind, monkeypatch):
    """One layer of one kind; beside it an MLP that the checkpoint does not use, which excuses nothing else."""
    from oneway.engine import tap

    write = tap.write

    def deaf(value, edit, positions):
        if (edit.site.kind, edit.site.layer) != (kind, 2):
            write(value, edit, positions)

    monkeypatch.setattr(tap, "write", deaf)
    model = zeroed("MLP")
    proof = prove(opened_checkpoint(checkpoint(model)), model)
    assert proof.idle == (f"{kind}(layer 2)",)
    assert not proof.holds
    with pytest.raises(NotProven, match=rf"editing {kind}\(layer 2\) does not change the logits, nor"):
        proof.check()


@pytest.mark.parametrize("architecture", ["gpt2", "neox"])
def test_a_compiled_checkpoint_is_proved(architecture, tmp_path):
    """Most of it is silent on any few tokens: neurons below their threshold, heads that find no name."""
    facts = FactTable(
        tuple(Fact(f"Ann {name}", "likes", f"{name} tea") for name in ("Oak", "Elm", "Ash")),
        {"likes": Relation("likes", ("{subject} likes {object}",), ())},
    )
    compile_table(facts, tmp_path / "m", architecture=architecture)
    opened, proof = prove_model(tmp_path / "m", device="cpu")
    proof.check()
    assert isinstance(opened, Engine)
    assert {why.split(",")[0] for why in proof.unmoved.values()} == {"unused", "heard in its block"}


def test_a_pair_in_memory_is_opened_and_reads_its_prompts():
    engine = open_model((tiny_model("neox"), word_tokenizer([" ".join(WORDS)])))
    assert engine.tokens(["w0 w1", "w2 w3"]).shape == (2, 3)  # with the beginning of the text
    with pytest.raises(ValueError, match="the prompts have 2, 3 tokens: group them by length"):
        engine.tokens(["w0", "w1 w2"])


def test_float64_is_closer_to_itself_than_float32_is():
    pair, ids = (tiny_model("qwen3"), word_tokenizer([" ".join(WORDS)])), torch.arange(6)[None]
    single, double = open_model(pair), open_model(pair, precision="float64")
    read = Site("logits")
    found = double.run(ids, [read])[read]
    assert found.dtype == torch.float64
    torch.testing.assert_close(single.run(ids, [read])[read].double(), found, rtol=0, atol=1e-5)


def test_an_unknown_architecture_is_read_through_hooks_and_says_what_it_cannot():
    model = tiny_model("phi")
    opened = opened_checkpoint(checkpoint(model))
    proof = prove(opened, model)
    assert proof.holds
    assert proof.difference == 0
    assert "the architecture 'phi' is not read here" in opened.cannot[0]
    assert {"attn_out", "mlp_in", "mlp_out"} < set(opened.kinds)
    ids = torch.arange(12).view(2, 6)
    for asked, error, said in (
        (Site("z", 0), SiteError, "there are only embedding, resid_pre, resid_post"),
        (Site("attn_out", 3), SiteError, "the model has layers 0 to 2"),
        (Site("attn_out", 0, head=1), SiteError, "do not tell heads and neurons apart"),
        (Site("attn_out", 0, position=6), SiteError, "the prompts have 6 tokens"),
    ):
        with pytest.raises(error) as raised:
            opened.run(ids, [asked])
        assert said in str(raised.value)
    with pytest.raises(PatchError, match="path patches need a family that the engine knows"):
        opened.run(ids, [Site("logits")], [Path(Patch(Site("mlp_out", 0), Zero()), Site("logits"))])


def test_hooks_give_what_the_engine_gives_on_a_family_that_both_read(tokens):
    """The same calls, the same numbers; nothing stays in the model."""
    from oneway.engine.hooked import Hooked

    model = tiny_model("llama3")
    engine, hooked = opened_checkpoint(checkpoint(model)), Hooked(model, None, "m", "a test")
    assert isinstance(engine, Engine)
    reads = [Site(kind, 1) for kind in hooked.kinds if kind not in ("embedding", "final_norm", "logits")]
    reads += [Site("embedding"), Site("final_norm"), Site("logits", position=-1)]
    patches = [Patch(Site("mlp_out", 0, position=3), Mean()), Patch(Site("resid_pre", 2, position=5), Zero())]
    ours, theirs = engine.run(tokens, reads, patches), hooked.run(tokens, reads, patches)
    for read in reads:
        torch.testing.assert_close(ours[read], theirs[read], rtol=0, atol=1e-4)
    right, wrong = torch.arange(5), torch.arange(5) + 50
    for readout in (
        LogitDifference(right=right, wrong=wrong),
        LogProbability(answer=right),
        Residual(after=1, position=6),
    ):
        own, other = (m.effects(tokens, [*patches, tuple(patches)], readout) for m in (engine, hooked))
        torch.testing.assert_close(own.patched, other.patched, rtol=0, atol=1e-4)
        torch.testing.assert_close(own.clean, other.clean, rtol=0, atol=1e-4)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_outputs_that_do_not_add_up_to_the_block_are_not_offered():
    opened = opened_checkpoint(checkpoint(tiny_model("opt")))
    assert opened.kinds == ("embedding", "resid_pre", "resid_post", "final_norm", "logits")
    assert any(what.startswith("no attn_out, mlp_in and mlp_out") for what in opened.cannot)


def test_a_checkpoint_with_a_tensor_missing_or_broken_is_refused_by_name(tmp_path):
    from safetensors.torch import load_file, save_file

    model, tokenizer = tiny_model("gpt2"), word_tokenizer([" ".join(WORDS)])
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    _, proof = prove_model(tmp_path, device="cpu")
    assert proof.holds
    file = tmp_path / "model.safetensors"
    whole = load_file(file)
    name = next(key for key in whole if key.endswith("h.1.mlp.c_fc.weight"))
    save_file({k: v for k, v in whole.items() if k != name}, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="lacks 1 weights of a GPT2LMHeadModel"):
        open_model(tmp_path, device="cpu")
    save_file(whole | {name: torch.full_like(whole[name], torch.nan)}, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"c_fc\.weight.* holds .* values that are NaN or infinite"):
        open_model(tmp_path, device="cpu")


def test_a_model_that_outgrows_its_device_is_run_part_by_part(tmp_path, tokens):
    """Two layers and the unembedding stay on disk and come to the processor when they run: the same numbers."""
    model = tiny_model("llama3")
    model.save_pretrained(tmp_path)
    word_tokenizer([" ".join(WORDS)]).save_pretrained(tmp_path)
    layers = {f"model.layers.{layer}": "disk" if layer else "cpu" for layer in range(3)}
    rest = {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "disk"}
    spread, whole = open_model(tmp_path, device_map=layers | rest), open_model(tmp_path, device="cpu")
    assert "weights that are not all in the memory of one device are not read here" in spread.cannot[0]
    assert isinstance(whole, Engine)
    assert sum(weight.is_meta for weight in spread._model.parameters()) == 19
    reads = [Site("resid_post", 1), Site("mlp_out", 2, position=3), Site("logits", position=-1)]
    patches = [Patch(Site("mlp_out", 1, position=2), Mean()), Patch(Site("resid_pre", 2, position=5), Zero())]
    for edits in ((), patches):
        ours, theirs = (opened.run(tokens, reads, edits) for opened in (whole, spread))
        for read in reads:
            torch.testing.assert_close(theirs[read], ours[read], rtol=0, atol=1e-4)
    readout = LogProbability(answer=torch.arange(5))
    ours, theirs = (opened.effects(tokens, patches, readout) for opened in (whole, spread))
    torch.testing.assert_close(theirs.patched, ours.patched, rtol=0, atol=1e-4)
    ours, theirs = (opened.read_on(tokens)[0].logits() for opened in (whole, spread))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4)


def test_a_device_map_of_one_device_is_the_engines_and_what_it_is_not_for_is_said(tmp_path):
    model, tokenizer = tiny_model("gpt2"), word_tokenizer([" ".join(WORDS)])
    with pytest.raises(CheckpointError, match="device_map are for checkpoints in files"):
        open_model((model, tokenizer), device_map="auto")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert isinstance(open_model(tmp_path, device_map={"": "cpu"}), Engine)
    damaged = {name: value.clone() for name, value in model.state_dict().items() if name != "lm_head.weight"}
    damaged["transformer.h.2.mlp.c_fc.weight"][0, 0] = torch.nan
    model.save_pretrained(tmp_path, state_dict=damaged)
    parts = {f"transformer.{part}": "cpu" for part in ("wte", "wpe", "h.0", "h.1", "ln_f")}
    with pytest.raises(CheckpointError, match=r"h\.2\.mlp\.c_fc\.weight.* NaN"):
        open_model(tmp_path, device_map=parts | {"transformer.h.2": "disk", "lm_head": "cpu"})


def test_of_a_model_of_texts_and_images_the_text_is_read():
    """As a checkpoint of Gemma 3 of 4B and more: the text model stands inside, beside the images'."""
    model = tiny_model("gemma3-multimodal")
    engine = opened_checkpoint(checkpoint(model))
    assert isinstance(engine, Engine)
    prove(engine, model).check()
    assert engine.layers == 4
    ids = torch.arange(3, 15).view(2, 6)
    read = Site("logits")
    with torch.inference_mode():
        expected = model(input_ids=ids).logits
    torch.testing.assert_close(engine.run(ids, [read])[read], expected, rtol=0, atol=1e-4)
