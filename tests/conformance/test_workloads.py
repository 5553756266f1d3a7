"""Every workload over every family, random and trained weights: equal to plain hooks on the model's own modules.

In float32 to 2e-5 · max(1, largest |reference|); in float64 to 1e-9, against the model's code patched to compute in
double all through.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from plain import in_double, modules, patterns, run
from tiny import LAYERS, MODELS, VOCAB, tiny_model
from torch import Tensor
from transformers import PreTrainedModel

from oneway.engine import Engine, LogitDifference, LogProbability, Mean, Patch, Resample, Site, Zero
from oneway.engine.prepared import Prepared
from oneway.engine.workloads import (
    attention_knockout,
    attention_patterns,
    causal_trace,
    direct_effects,
    mlp_path_effects,
    neuron_effects,
    product_of_names,
    residuals,
    total_effects,
)
from oneway.models.families import read_decoder

BATCH, LENGTH, NAME = 6, 9, 4  # prompts, tokens, the position of the name's last token
TRAINED = ("gpt2", "neox", "llama3", "qwen3", "gemma3")


@dataclass(frozen=True)
class Case:
    """A plain model, the engine on it, and how close they must be."""

    plain: PreTrainedModel
    engine: Engine
    heads: int

    def equal(self, ours: Tensor, reference: Tensor) -> None:
        single = reference.dtype == torch.float32
        allowed = 2e-5 * max(1.0, float(reference.abs().max())) if single else 1e-9
        torch.testing.assert_close(ours, reference, rtol=0, atol=allowed)

    def heads_of(self, z: Tensor) -> Tensor:
        return z.unflatten(-1, (self.heads, -1))


def trained(model: PreTrainedModel) -> PreTrainedModel:
    """A few steps on sequences of one rule: weights as training leaves them, not as drawn."""
    model = copy.deepcopy(model).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(2)
    for _ in range(25):
        start = torch.randint(0, VOCAB, (32, 1), generator=generator)
        ids = (start + 7 * torch.arange(LENGTH)) % VOCAB
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return model.eval()


CASES = [f"{name}-{kind}" for name in MODELS for kind in ("float32", "float64")]
CASES += [f"{name}-trained" for name in TRAINED]


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    name, _, kind = request.param.rpartition("-")
    model = tiny_model(name)
    if kind == "trained":
        model = trained(model)
    form, weights = read_decoder(model, torch.float64 if kind == "float64" else None)
    if kind == "float64":
        model = in_double(model)
    return Case(model, Engine(Prepared(form, weights)), form.heads)


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    ids = torch.randint(0, VOCAB, (BATCH, LENGTH), generator=torch.Generator().manual_seed(1))
    ids[:, :2], ids[:, NAME + 1 :] = ids[0, :2], ids[0, NAME + 1 :]
    return ids


RIGHT, WRONG = torch.arange(BATCH) + 3, torch.arange(BATCH) + 60
ODDS, NATS = LogitDifference(right=RIGHT, wrong=WRONG), LogProbability(answer=RIGHT)


def odds(logits: Tensor) -> Tensor:
    last, row = logits[:, -1], torch.arange(BATCH)
    return last[row, RIGHT] - last[row, WRONG]


def nats(logits: Tensor) -> Tensor:
    return logits[:, -1].log_softmax(-1)[torch.arange(BATCH), RIGHT]


def at(position: int, value: Tensor, head: tuple[Callable[[Tensor], Tensor], int] | None = None):
    """An edit that puts a value at a position, of one head where heads are to be told apart."""

    def edit(x: Tensor) -> Tensor:
        if head is None:
            x[:, position] = value
        else:
            head[0](x)[:, position, head[1]] = value
        return x

    return edit


def clean(case: Case, tokens: Tensor, kind: str, position: int = NAME) -> list[Tensor]:
    found = run(case.plain, tokens, [(layer, kind) for layer in range(LAYERS)])[1]
    return [found[layer, kind][:, position] for layer in range(LAYERS)]


def test_residuals(case, tokens):
    reference = torch.stack(clean(case, tokens, "resid_post"), dim=1)
    case.equal(residuals(case.engine, tokens, NAME), reference)


def test_direct_effects(case, tokens):
    where = modules(case.plain)
    found = direct_effects(case.engine, tokens, ODDS)
    final = run(case.plain, tokens, [(LAYERS - 1, "resid_post")])[1][LAYERS - 1, "resid_post"][:, -1]

    def scores(resid: Tensor) -> Tensor:
        logits = case.plain.lm_head(where.final_norm(resid))
        cap = getattr(case.plain.config, "final_logit_softcapping", None)
        return odds((logits if cap is None else cap * (logits / cap).tanh())[:, None])

    with torch.inference_mode():
        for layer, (z, mlp) in enumerate(
            zip(clean(case, tokens, "z", -1), clean(case, tokens, "mlp_out", -1), strict=True)
        ):
            case.equal(found.mlps[layer], scores(final - mlp + mlp.mean(0)))
            write = where.attn_out(where.blocks[layer])
            for head in range(case.heads):
                other = z.clone()
                case.heads_of(other)[:, head] = case.heads_of(z)[:, head].mean(0)
                case.equal(found.heads[layer, head], scores(final - write(z) + write(other)))


@pytest.mark.parametrize(
    "value", [Mean(), Zero(), Resample((1, 2, 3, 4, 5, 0))], ids=["mean", "zero", "resample"]
)
def test_total_effects(case, tokens, value):
    def put(x: Tensor) -> Tensor:
        return {Mean: lambda: x.mean(0), Zero: lambda: x.new_zeros(()), Resample: lambda: x.roll(-1, 0)}[
            type(value)
        ]()

    found = total_effects(case.engine, tokens, NAME, ODDS, value)
    case.equal(found.clean, odds(run(case.plain, tokens)[0]))
    for layer, (z, mlp) in enumerate(
        zip(clean(case, tokens, "z"), clean(case, tokens, "mlp_out"), strict=True)
    ):
        edit = {(layer, "mlp_out"): at(NAME, put(mlp))}
        case.equal(found.mlps[layer], odds(run(case.plain, tokens, edits=edit)[0]))
        for head in range(case.heads):
            one = at(NAME, put(case.heads_of(z)[:, head]), (case.heads_of, head))
            case.equal(found.heads[layer, head], odds(run(case.plain, tokens, edits={(layer, "z"): one})[0]))


def test_neuron_effects(case, tokens):
    chosen = (0, 5, 33)
    found = neuron_effects(case.engine, tokens, 1, NAME, NATS, neurons=chosen)
    means = clean(case, tokens, "mlp_post")[1].mean(0)
    for number, neuron in enumerate(chosen):

        def edit(x: Tensor, neuron: int = neuron) -> Tensor:
            x[:, NAME, neuron] = means[neuron]
            return x

        case.equal(found.patched[number], nats(run(case.plain, tokens, edits={(1, "mlp_post"): edit})[0]))


def test_mlp_path_effects(case, tokens):
    where = modules(case.plain)
    found = mlp_path_effects(case.engine, tokens, NAME, ODDS, layers=range(LAYERS))
    before = odds(run(case.plain, tokens)[0])
    pre, attn, mlp = (clean(case, tokens, kind) for kind in ("resid_pre", "attn_out", "mlp_out"))
    for sender in range(LAYERS):
        for receiver in range(LAYERS):
            if sender >= receiver:
                assert not found[sender, receiver].any()
                continue
            read = pre[receiver] if where.parallel else pre[receiver] + attn[receiver]
            with torch.inference_mode():
                heard = where.mlp(where.blocks[receiver])(read - mlp[sender] + mlp[sender].mean(0))
            edit = {(receiver, "mlp_out"): at(NAME, heard)}
            case.equal(found[sender, receiver] + before, odds(run(case.plain, tokens, edits=edit)[0]))


@pytest.mark.parametrize("beginning", [1, 2], ids=["bos", "bos first"])
def test_product_of_names(case, beginning):
    firsts = torch.randint(0, VOCAB, (4, beginning), generator=torch.Generator().manual_seed(3))
    lasts = torch.tensor([5, 40, 7])
    kinds = ("resid_pre", "mlp_pre", "mlp_post", "mlp_out", "resid_post")
    sites = [Site(kind, layer) for kind in kinds for layer in range(LAYERS)]
    for asked in (sites, [Site("mlp_pre", 0)], [Site("mlp_pre", layer) for layer in range(LAYERS)]):
        for rows, found in product_of_names(case.engine, firsts, lasts, asked):
            for number in range(len(firsts))[rows]:
                ids = torch.cat((firsts[number].expand(3, -1), lasts[:, None]), dim=1)
                reference = run(case.plain, ids, [(site.layer, site.kind) for site in asked])[1]
                for site in asked:
                    case.equal(found[site][number - rows.start], reference[site.layer, site.kind][:, -1])


def test_attention_patterns(case, tokens):
    with patterns(case.plain) as seen:
        run(case.plain, tokens)
        for layer in range(LAYERS):
            case.equal(attention_patterns(case.engine, tokens, layer, 6), seen[layer][:, :, 6])


def test_attention_knockout(case, tokens):
    windows = [(0,), (1, 2), (0, 1, 2)]
    found = attention_knockout(case.engine, tokens, LENGTH - 1, (3, NAME), NATS, windows=windows)

    def without(pattern: Tensor) -> Tensor:
        pattern[:, :, -1, [3, NAME]] = 0
        pattern[:, :, -1] /= pattern[:, :, -1].sum(-1, keepdim=True)
        return pattern

    for number, window in enumerate(windows):
        with patterns(case.plain, dict.fromkeys(window, without)):
            case.equal(found.patched[number], nats(run(case.plain, tokens)[0]))


@pytest.mark.parametrize(("kind", "window"), [("resid_post", 1), ("mlp_out", 2)], ids=["state", "MLPs"])
def test_causal_trace(case, tokens, kind, window):
    subject = (2, 3, NAME)
    traced, ends = causal_trace(
        case.engine, tokens, subject, NATS, noise=3.0, seed=4, kind=kind, window=window
    )
    places = [(layer, kind) for layer in range(LAYERS)]
    embedding = Site("embedding")
    own = case.engine.run(tokens, [embedding])[embedding][:, list(subject)]
    drawn = torch.randn(own.shape, generator=torch.Generator().manual_seed(4))
    wpe = 0 if case.plain.config.model_type != "gpt2" else case.plain.transformer.wpe.weight[list(subject)]
    noised = own + 3.0 * float(own.std()) * drawn.to(own) - wpe

    def corrupt(x: Tensor) -> Tensor:
        x[:, list(subject)] = noised
        return x

    logits, before = run(case.plain, tokens, places)
    case.equal(ends.clean, nats(logits))
    noisy = {(-1, "embedding"): corrupt}
    case.equal(ends.patched[0], nats(run(case.plain, tokens, edits=noisy)[0]))
    for layer in range(LAYERS):
        for position in (1, 3, NAME, 7):
            near = range(max(0, layer - (window - 1) // 2), min(LAYERS, layer + window // 2 + 1))
            restored = {(n, kind): at(position, before[n, kind][:, position]) for n in near}
            case.equal(traced[layer, position], nats(run(case.plain, tokens, edits=noisy | restored)[0]))


@pytest.mark.parametrize(
    "kind", ["resid_pre", "z", "attn_out", "mlp_in", "mlp_pre", "mlp_post", "mlp_out", "resid_post"]
)
def test_sites_are_what_hooks_see_and_editing_them_does_what_hooks_do(case, tokens, kind):
    read = Site("logits")
    for layer in range(LAYERS):
        value = run(case.plain, tokens, [(layer, kind)])[1][layer, kind]
        shaped = case.heads_of(value) if kind == "z" else value
        site = Site(kind, layer)
        case.equal(case.engine.run(tokens, [site])[site], shaped)
        edit = {(layer, kind): at(NAME, value[:, NAME].mean(0))}
        ours = case.engine.run(tokens, [read], [Patch(Site(kind, layer, position=NAME), Mean())])[read]
        case.equal(ours, run(case.plain, tokens, edits=edit)[0])
