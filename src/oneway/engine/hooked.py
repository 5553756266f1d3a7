"""Architectures that the engine does not know: their own code run with hooks on their own modules.

The same calls, for the sites that can be found from outside: where a block begins and ends, and, if they can be told
and add up to the block, what its attention and its MLP add. Hooks are there during a call only.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from oneway.engine.following import Following
from oneway.engine.opened import Effects, Opened
from oneway.engine.own_code import OwnCode
from oneway.engine.patch import Intervention, Patch, Path, parts
from oneway.engine.prefix import Prefix
from oneway.engine.readout import Readout, Scores
from oneway.engine.settle import PatchError, settle
from oneway.engine.site import WHOLE_MODEL, Kind, Site, SiteError
from oneway.engine.tap import Edit, Tap
from oneway.models.families import UnknownFamily
from oneway.models.placement import entry
from oneway.report.progress import progress

AT_ONCE = 64  # prompts
ATTENTION, MLP = ("attn", "attention"), ("mlp", "ffn", "feed_forward", "feedforward")


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """The modules whose inputs and outputs are sites."""

    blocks: Sequence[nn.Module]
    attention: Sequence[nn.Module] | None
    mlp: Sequence[nn.Module] | None


def find_places(model: PreTrainedModel) -> Places:
    """The blocks of a model: its first list of modules that has one for each layer; attention and MLP by name.

    Raises UnknownFamily where there is no such list.
    """
    layers = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == layers]
    if not lists:
        raise UnknownFamily(
            f"{type(model).__name__} has no list of {layers} blocks to put hooks on: it is unsupported"
        )

    def part(names: tuple[str, ...]) -> Sequence[nn.Module] | None:
        found = []
        for block in lists[0]:
            named = [m for name, m in block.named_children() if any(n in name.lower() for n in names)]
            modules = [
                m for m in named if not isinstance(m, nn.LayerNorm) and "norm" not in type(m).__name__.lower()
            ]
            found += modules[:1]
        return found if len(found) == len(lists[0]) else None

    return Places(list(lists[0]), part(ATTENTION), part(MLP))


class Hooked(Opened):
    """A model of an architecture that the engine does not know, read and edited through hooks."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, name: str, reason: str
    ) -> None:
        self._model, self.tokenizer, self.name = model, tokenizer, name
        config = model.config.get_text_config()
        self._places, self._width = find_places(model), int(config.hidden_size)
        self.architecture, self.layers = model.config.model_type, len(self._places.blocks)
        self.vocab = int(model.get_output_embeddings().weight.shape[0])
        self.context = int(getattr(config, "max_position_embeddings", None) or 2**31)
        self._own, self.device = OwnCode(model), entry(model)
        self.kinds = ("embedding", "resid_pre", "resid_post", "final_norm", "logits")
        self.cannot = (
            f"{reason}: run by its own code, with hooks on its own modules, all layers and positions each time",
            "no sites inside attention and MLP, no path patches, no weights by name",
        )
        self._find_parts()

    def _find_parts(self) -> None:
        """Offer attn_out, mlp_in and mlp_out where the two outputs are what a block adds."""
        if self._places.attention is None or self._places.mlp is None:
            self.cannot += (
                "no attn_out, mlp_in and mlp_out: the blocks' attention and MLP cannot be told by name",
            )
            return
        before, self.kinds = self.kinds, (*self.kinds, "attn_out", "mlp_in", "mlp_out")
        kinds: tuple[Kind, ...] = ("resid_pre", "attn_out", "mlp_out", "resid_post")
        sites = {(kind, layer): Site(kind, layer) for kind in kinds for layer in range(self.layers)}
        found = self.run(torch.arange(min(4, self.vocab))[None], list(sites.values()))
        for layer in range(self.layers):
            pre, attention, mlp, post = (found[sites[kind, layer]] for kind in kinds)
            if not torch.allclose(pre + attention + mlp, post, rtol=1e-3, atol=1e-3 * float(post.std())):
                self.kinds = before
                self.cannot += (
                    f"no attn_out, mlp_in and mlp_out: in layer {layer} the outputs of attention and MLP do not add up "
                    "to the block's",
                )
                return

    def shape_of(self, site: Site, batch: int, length: int) -> tuple[int, ...]:
        width = self.vocab if site.kind == "logits" else self._width
        return (batch, *(() if site.position is not None else (length,)), width)

    def _checked(self, site: Site, length: int) -> Site:
        if site.kind not in self.kinds:
            raise SiteError(
                f"{site}: a {self.architecture} is read through hooks on its own modules, where there are only "
                f"{', '.join(self.kinds)}"
            )
        if site.head is not None or site.neuron is not None:
            raise SiteError(f"{site}: hooks on whole modules do not tell heads and neurons apart")
        if (site.layer is None) != (site.kind in WHOLE_MODEL) or (
            site.layer is not None and not 0 <= site.layer < self.layers
        ):
            raise SiteError(
                f"{site}: the model has layers 0 to {self.layers - 1}, {', '.join(WHOLE_MODEL)} none"
            )
        if site.position is None:
            return site
        if not -length <= site.position < length:
            raise SiteError(
                f"{site}: the prompts have {length} tokens, so position {site.position} is outside them"
            )
        return Site(site.kind, site.layer, position=site.position % length)

    def stream(
        self, tokens: Int[Tensor, "batch pos"], reads: Sequence[Site], patches: Sequence[Patch | Path] = ()
    ) -> Iterator[tuple[slice, dict[Site, Tensor]]]:
        """See `Opened.stream`."""
        tokens = self.checked_tokens(tokens)
        sites = {site: self._checked(site, tokens.shape[1]) for site in reads}
        edits = self._edits(tokens, [tuple(patches)])[0]
        with progress("prompts") as advance:
            for start in range(0, len(tokens), AT_ONCE):
                rows = slice(start, min(start + AT_ONCE, len(tokens)))
                own = tuple(Edit(edit.site, edit.value[rows]) for edit in edits)
                found = self._pass(tokens[rows], tuple(dict.fromkeys(sites.values())), own)
                yield rows, {asked: found[site] for asked, site in sites.items()}
                advance(rows.stop, len(tokens))

    def effects(
        self, tokens: Int[Tensor, "batch pos"], interventions: Sequence[Intervention], readout: Readout
    ) -> Effects:
        """See `Opened.effects`. Every intervention is a whole run."""
        tokens = self.checked_tokens(tokens)
        length = tokens.shape[1]
        layer = readout.layer(self.layers)
        resid = self._checked(Site("resid_post", layer, position=readout.position), length)
        logits = Site("logits", position=resid.position)

        def measured(edits: Sequence[Edit]) -> Tensor:
            measures = []
            for start in range(0, len(tokens), AT_ONCE):
                rows = slice(start, start + AT_ONCE)
                own = tuple(Edit(edit.site, edit.value[rows]) for edit in edits)
                found = self._pass(tokens[rows], (resid, logits), own)
                measures.append(readout.of(rows)(_Given(found[resid][None], found[logits][None]))[0])
            return torch.cat(measures)

        patched = []
        with progress("interventions") as advance:
            for edits in self._edits(tokens, interventions):
                patched.append(measured(edits))
                advance(len(patched), len(interventions))
        clean = measured(())
        return Effects(torch.stack(patched) if patched else clean[None][:0], clean)

    @property
    def bytes_per_token(self) -> int:
        return self._own.bytes_per_token

    def read_on(
        self, tokens: Int[Tensor, "row pos"], prefix: Prefix | None = None
    ) -> tuple[Following, Prefix]:
        """See `Reader.read_on`. Raises CacheError where the model has no cache whose rows can be selected."""
        return self._own.read_on(self.checked_tokens(tokens, 0 if prefix is None else prefix.length), prefix)

    def _edits(
        self, tokens: Int[Tensor, "batch pos"], interventions: Sequence[Intervention]
    ) -> list[tuple[Edit, ...]]:
        batch, length = tokens.shape
        if any(isinstance(part, Path) for own in interventions for part in parts(own)):
            raise PatchError(f"path patches need a family that the engine knows, not a {self.architecture}")
        settled = settle(
            interventions,
            check=lambda site: self._checked(site, length),
            shape=lambda site: self.shape_of(site, batch, length),
            like=torch.empty((), dtype=self._model.dtype, device=self.device),
            read=lambda sites: self.run(tokens, sites),
        )
        return [one.edits for one in settled]

    @torch.inference_mode()
    def _pass(
        self, tokens: Int[Tensor, "batch pos"], reads: tuple[Site, ...], edits: tuple[Edit, ...]
    ) -> Mapping[Site, Tensor]:
        """One run of the model's own code."""
        layers = (None, *range(self.layers))
        taps = {
            layer: Tap(
                reads=tuple(s for s in reads if s.layer == layer),
                edits=tuple(e for e in edits if e.site.layer == layer),
            )
            for layer in layers
        }
        positions = range(tokens.shape[1])

        def at(kind: Kind, layer: int | None) -> Callable[[Tensor], Tensor]:
            return lambda value: taps[layer](kind, value[None], positions)[0]

        with ExitStack() as hooks:
            for (kind, layer), (module, side) in self._sites().items():
                if taps[layer].wants(kind):
                    hooks.enter_context(_hooked(module, side, at(kind, layer)))
            logits = self._model(input_ids=tokens, use_cache=False).logits
        at("logits", None)(logits)
        return {site: value[0].to(self.device) for tap in taps.values() for site, value in tap.found.items()}

    def _sites(self) -> dict[tuple[Kind, int | None], tuple[nn.Module, str]]:
        """Each site's module, and whether it is the module's input or output."""
        model, places = self._model, self._places
        found: dict[tuple[Kind, int | None], tuple[nn.Module, str]] = {
            ("embedding", None): (model.get_input_embeddings(), "output"),
            ("final_norm", None): (model.get_output_embeddings(), "input"),
        }
        for layer, block in enumerate(places.blocks):
            found["resid_pre", layer] = (block, "input")
            found["resid_post", layer] = (block, "output")
        for layer, module in enumerate(places.attention or ()):
            found["attn_out", layer] = (module, "output")
        for layer, module in enumerate(places.mlp or ()):
            found["mlp_in", layer], found["mlp_out", layer] = (module, "input"), (module, "output")
        return found


class _Given(Scores):
    """Scores that a model's own code has computed."""

    def __init__(self, resid: Float[Tensor, "run batch d_model"], logits: Tensor) -> None:
        self.resid, self._logits = resid, logits

    def columns(self, answers: Int[Tensor, "batch answer"]) -> Float[Tensor, "run batch answer"]:
        return self._logits.gather(2, answers.to(self._logits.device).expand(len(self._logits), -1, -1))

    def log_normaliser(self) -> Float[Tensor, "run batch"]:
        return self._logits.logsumexp(-1)

    def logits(self) -> Float[Tensor, "run batch vocab"]:
        return self._logits


@contextmanager
def _hooked(module: nn.Module, side: str, through: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While inside, what goes into or comes out of a module goes through a function."""

    def into(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (through(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": through(kwargs["hidden_states"])}

    def out(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        return (through(output[0]), *output[1:]) if isinstance(output, tuple) else through(output)

    if side == "input":
        handle = module.register_forward_pre_hook(into, with_kwargs=True)
    else:
        handle = module.register_forward_hook(out)
    try:
        yield
    finally:
        handle.remove()
