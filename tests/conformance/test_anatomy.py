"""The anatomy's numbers against an independent implementation: plain hooks on the model's own modules, in float64.

Random NeoX and Llama shapes, and the default model; F1, F4, F5, F7, F9, F10, F11, F14 and F15 within 1e-4.
"""

import os
from dataclasses import dataclass

import pytest
import torch
from plain import in_double, modules, run
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny import VOCAB, tiny_model
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

import oneway
from oneway.anatomy.asked import Asked
from oneway.anatomy.extraction import direct
from oneway.anatomy.hashing import _quadruples, broken_linearity, names_of, norms
from oneway.anatomy.intervals import other_answers
from oneway.anatomy.lookup import attention_removed, paths_between_mlps
from oneway.anatomy.neurons import neuron_changes, nonlinear_excess
from oneway.anatomy.probes import by_layer, mechanistic_probe
from oneway.anatomy.remaining import Remaining
from oneway.engine import Engine
from oneway.engine.prepared import Prepared
from oneway.facts import Fact
from oneway.models.families import read_decoder

FIRSTS, LASTS, COUNT, HEAD = 7, 6, 24, (2, 1)
NAME, LAST = 4, 7
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@dataclass(frozen=True)
class Case:
    plain: PreTrainedModel
    engine: Engine
    asked: Asked
    source: list[int]

    @property
    def layers(self) -> int:
        return self.engine.layers

    def logprob(self, edits) -> Tensor:
        logits, _ = run(self.plain, self.asked.tokens, edits=edits)
        return logits[:, -1].log_softmax(-1)[torch.arange(COUNT), self.asked.right_token]

    def read(self, layer: int, kind: str, tokens: Tensor | None = None) -> Tensor:
        tokens = self.asked.tokens if tokens is None else tokens
        return run(self.plain, tokens, [(layer, kind)])[1][layer, kind]


def grown(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    """The default model in its own shape, taught for a few steps; ONEWAY_DEFAULT_MODEL names one that is taught out."""
    folder = os.environ.get("ONEWAY_DEFAULT_MODEL")
    if folder is None:
        folder = oneway.grow(tmp_path_factory.mktemp("grown") / "model", steps=12).checkpoint
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


@pytest.fixture(scope="module", params=["neox", "neox-sequential", "llama3", "llama-biases", "default-model"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    model = grown(tmp_path_factory) if request.param == "default-model" else tiny_model(request.param)
    form, weights = read_decoder(model, torch.float64)
    generator = torch.Generator().manual_seed(3)
    cells = torch.randperm(FIRSTS * LASTS, generator=generator)[:COUNT]
    tokens = torch.randint(1, VOCAB, (1, LAST + 1), generator=generator).repeat(COUNT, 1)
    tokens[:, 0], tokens[:, NAME - 1], tokens[:, NAME] = 0, 40 + cells // LASTS, 60 + cells % LASTS
    right = torch.arange(COUNT) % 3
    facts = tuple(Fact(f"n{i}", "r", f"o{i % 3}") for i in range(COUNT))
    asked = Asked(
        facts, tokens, 1, range(NAME - 1, NAME + 1), torch.tensor([7, 8, 9]), ("o0", "o1", "o2"), right
    )
    return Case(in_double(model), Engine(Prepared(form, weights)), asked, other_answers(right))


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.inference_mode():
        yield


def put(position: int, value: Tensor):
    def edit(x: Tensor) -> Tensor:
        x[:, position] = value
        return x

    return edit


def mean_at(x: Tensor, position: int) -> Tensor:
    return x[:, position].mean(0)


def odds(case: Case, logits: Tensor) -> Tensor:
    row, right = torch.arange(COUNT), case.asked.right_token
    return logits[row, right] - logits[row, right[case.source]]


def test_direct_effects(case: Case):
    found, where = direct(case.engine, case.asked), modules(case.plain)
    final = case.read(case.layers - 1, "resid_post")[:, LAST]

    def scores(resid: Tensor) -> Tensor:
        return odds(case, case.plain.lm_head(where.final_norm(resid)))

    torch.testing.assert_close(found.direct.clean, scores(final), **CLOSE)
    heads = case.engine.form.heads
    for layer in range(case.layers):
        z = case.read(layer, "z")[:, LAST].unflatten(-1, (heads, -1))
        for head in range(heads):
            other = z.clone()
            other[:, head] = z[case.source, head]
            project = where.attn_out(where.blocks[layer])
            change = project(other.flatten(1)) - project(z.flatten(1))
            wanted = scores(final) - scores(final + change)
            torch.testing.assert_close(found.direct.heads[layer, head], wanted, **CLOSE)
        out = case.read(layer, "mlp_out")[:, LAST]
        wanted = scores(final) - scores(final + out[case.source] - out)
        torch.testing.assert_close(found.direct.mlps[layer], wanted, **CLOSE)


def probe_scores(case: Case, resid: Tensor) -> Tensor:
    """The mechanistic probe from the model's own modules: v and o of one head, the final norm's weight, the scores'."""
    layer, head = HEAD
    where, form = modules(case.plain), case.engine.form
    block = where.blocks[layer]
    heads, d = form.heads, form.d_head
    if hasattr(block, "attention"):  # NeoX: q, k and v of each head side by side
        normed = block.input_layernorm(resid)
        qkv = block.attention.query_key_value.weight.view(heads, 3, d, -1)
        v = normed @ qkv[head, 2].T
        out = block.attention.dense.weight
    else:
        normed = block.input_layernorm(resid)
        group = heads // form.kv_heads
        v = normed @ block.self_attn.v_proj.weight.view(form.kv_heads, d, -1)[head // group].T
        out = block.self_attn.o_proj.weight
    written = v @ out[:, head * d : (head + 1) * d].T
    if form.norm == "layer":
        written = written - written.mean(-1, keepdim=True)
    return (written * where.final_norm.weight) @ case.plain.lm_head.weight[case.asked.answers].T


def test_mechanistic_probe(case: Case):
    found = mechanistic_probe(case.engine, case.asked, HEAD)
    scores = probe_scores(case, case.read(HEAD[0], "resid_pre")[:, NAME])
    torch.testing.assert_close(found.scores, scores - scores.mean(0), **CLOSE)


def test_probes_by_layer(case: Case):
    found = by_layer(case.engine, case.asked, splits=4)
    right = case.asked.right.numpy()
    for layer in range(case.layers):
        x, accuracies = case.read(layer, "resid_post")[:, NAME].numpy(), []
        for train, test in StratifiedShuffleSplit(4, test_size=0.2, random_state=0).split(x, right):
            probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1))
            accuracies.append((probe.fit(x[train], right[train]).predict(x[test]) == right[test]).mean())
        assert found["accuracy"][layer + 1] == pytest.approx(sum(accuracies) / 4, abs=1e-4)


def test_attention_removed(case: Case):
    remaining = Remaining(case.engine, case.asked, HEAD)
    found = attention_removed(remaining)
    means = [mean_at(case.read(layer, "attn_out"), NAME) for layer in range(case.layers)]
    for k in range(case.layers + 1):
        logprob = case.logprob(
            {(layer, "attn_out"): put(NAME, means[layer]) for layer in range(k, case.layers)}
        )
        rows = found.filter((found["measure"] == "logprob") & (found["from_layer"] == k))
        assert rows["mean"].item() == pytest.approx(float(logprob.mean()), abs=1e-4)


def test_paths_between_mlps(case: Case):
    found = paths_between_mlps(Remaining(case.engine, case.asked, HEAD), range(case.layers))
    where = modules(case.plain)
    late = "resid_pre" if where.parallel else "resid_mid"
    for i in range(case.layers):
        out = case.read(i, "mlp_out")[:, NAME]
        for j in range(i + 1, case.layers):
            before = case.read(j, "resid_pre")[:, NAME]
            read = before if late == "resid_pre" else before + case.read(j, "attn_out")[:, NAME]
            changed = where.mlp(where.blocks[j])((read + out.mean(0) - out)[:, None])[:, 0]
            logprob = case.logprob({(j, "mlp_out"): put(NAME, changed)})
            rows = found.filter((found["measure"] == "logprob") & (found["intervention"] == f"{i} → {j}"))
            assert rows["mean"].item() == pytest.approx(float(logprob.mean()), abs=1e-4)


def test_neuron_changes(case: Case):
    layer = 1
    found, clean = neuron_changes(case.engine, case.asked, [layer]), case.logprob({})
    post = case.read(layer, "mlp_post")[:, NAME]
    for neuron in (0, 5, 33):
        ablated = post.clone()
        ablated[:, neuron] = post[:, neuron].mean()
        changed = case.logprob({(layer, "mlp_post"): put(NAME, ablated)})
        torch.testing.assert_close(found[neuron], changed - clean, **CLOSE)


def every_name(asked: Asked) -> tuple[Tensor, Tensor]:
    """All first with all last tokens, behind the BOS; and which of them are asked."""
    names = names_of(asked)
    pairs = torch.cartesian_prod(torch.arange(len(names.firsts)), torch.arange(len(names.lasts)))
    return names.tokens(pairs), names.known


def test_nonlinear_excess(case: Case):
    found = nonlinear_excess(case.engine, case.asked, names_of(case.asked), HEAD)
    tokens, known = every_name(case.asked)
    form, where = case.engine.form, modules(case.plain)

    def product(layer: int, kind: str) -> Tensor:
        return case.read(layer, kind, tokens)[:, -1].view(*known.shape, -1)

    def excess(x: Tensor, i: int, j: int) -> Tensor:
        rows, columns = torch.arange(x.shape[0]) != i, torch.arange(x.shape[1]) != j
        return x[i, j] - x[rows, j].mean(0) - x[i, columns].mean(0) + x[rows][:, columns].mean((0, 1))

    stream = product(HEAD[0], "resid_pre")
    centred = stream - stream.mean(-1, keepdim=True) if form.norm == "layer" else stream
    scale = (centred.square().mean(-1) + form.epsilon).rsqrt().mean()
    # The probe without its norm, as a matrix: what each direction of the stream adds, through that head's weights.
    block = where.blocks[HEAD[0]]
    eye = torch.eye(form.d_model, dtype=torch.float64)
    eye = eye - eye.mean(-1, keepdim=True) if form.norm == "layer" else eye
    normed, bias = block.input_layernorm, getattr(block.input_layernorm, "bias", None)
    through = probe_scores_of_normed(case, eye * normed.weight)
    assert bias is None or bias.shape == normed.weight.shape
    names = case.asked.tokens[:, NAME - 1 : NAME + 1].tolist()
    right_of = {tuple(name): right for name, right in zip(names, case.asked.right.tolist(), strict=True)}
    firsts, lasts = names_of(case.asked).firsts, names_of(case.asked).lasts
    posts = [product(layer, "mlp_post") for layer in range(HEAD[0])]
    pres = [product(layer, "mlp_pre") for layer in range(HEAD[0])]
    for row, (i, j) in enumerate(known.nonzero().tolist()):
        right = right_of[int(firsts[i]), int(lasts[j])]
        others = [a for a in range(3) if a != right]
        weight = (through[:, right] - through[:, others].mean(1)) * scale
        made = 0.0
        for layer in range(HEAD[0]):
            post, pre = excess(posts[layer], i, j), excess(pres[layer], i, j)
            own = (post - pre.clamp_min(0)).clamp_min(0)
            written = where.blocks[layer].mlp
            matrix = (
                written.dense_4h_to_h.weight
                if hasattr(written, "dense_4h_to_h")
                else written.down_proj.weight
            )
            made += float((own * (matrix.T @ weight)).clamp_min(0).sum())
        assert float(found.made_by_neurons[row]) == pytest.approx(made, abs=1e-4)
        assert float(found.at_probe[row]) == pytest.approx(float(excess(stream, i, j) @ weight), abs=1e-4)


def probe_scores_of_normed(case: Case, normed: Tensor) -> Tensor:
    """`probe_scores` of what the norm has already made."""
    block = modules(case.plain).blocks[HEAD[0]]
    kept = block.input_layernorm
    block.input_layernorm = torch.nn.Identity()
    try:
        return probe_scores(case, normed)
    finally:
        block.input_layernorm = kept


def test_norms(case: Case):
    tokens, known = every_name(case.asked)
    found = norms(case.engine, names_of(case.asked)).table()
    for layer in range(case.layers):
        length = case.read(layer, "mlp_out", tokens)[:, -1].norm(dim=-1).view(known.shape)
        wanted = float((length[known] / length[~known].mean()).mean())
        assert found["ratio"][layer] == pytest.approx(wanted, abs=1e-4)


def test_broken_linearity(case: Case, monkeypatch: pytest.MonkeyPatch):
    import numpy as np

    monkeypatch.setattr("oneway.anatomy.hashing.FEWEST_QUADRUPLES", 1)
    names = names_of(case.asked)
    found = broken_linearity(case.engine, names, pairs=12, shuffles=1)
    quadruples = _quadruples(names, True, 12, np.random.default_rng(0))
    tokens = names.tokens(quadruples.flatten(0, 1))
    for kind in ("mlp_out", "resid_post"):
        for layer in range(case.layers):
            out = case.read(layer, kind, tokens)[:, -1].view(6, quadruples.shape[1], -1)
            a, b, c, d, e, f = out
            wanted = float(((a + b - c - d).norm(dim=-1) / (a + b - e - f).norm(dim=-1)).mean())
            rows = found.filter(
                (found["of"] == kind) & (found["layer"] == layer) & (found["names"] == "known")
            )
            if wanted > 1e-6:
                assert rows["broken"].item() == pytest.approx(wanted, abs=1e-4)
