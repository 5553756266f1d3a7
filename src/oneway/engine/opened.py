"""A model opened: read any site, edit any site, measure many interventions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from oneway.engine.effects import Budget, measured
from oneway.engine.forward import forward
from oneway.engine.patch import Intervention, Patch, Path
from oneway.engine.prepared import Prepared
from oneway.engine.readout import Readout
from oneway.engine.settle import Settled, followed, path_sites, settle
from oneway.engine.site import Site, checked, shape_of
from oneway.engine.tap import Edit
from oneway.models.checkpoint import Loading, Source, load_checkpoint
from oneway.models.decoder import Decoder
from oneway.models.decoder_weights import DecoderWeights
from oneway.models.families import read_decoder
from oneway.report.progress import progress


@dataclass(frozen=True, slots=True, eq=False)
class Effects:
    """A measure under each intervention, and without any."""

    patched: Float[Tensor, "intervention batch ..."]
    clean: Float[Tensor, "batch ..."]

    @property
    def change(self) -> Float[Tensor, "intervention batch ..."]:
        """What each intervention changes: patched − clean."""
        return self.patched - self.clean


Precision = Literal["float32", "float64"]


def open_model(source: Source, *, device: str = "auto", precision: Precision = "float32") -> "Engine":
    """Open a checkpoint: a directory, a hub name, or a (model, tokenizer) pair, which is left as it is.

    Its weights are computed with in float32, whatever they are stored in (bfloat16 destroys the effects of single
    neurons), or in float64. Raises CheckpointError where the checkpoint does not load, and UnknownFamily where its
    architecture is not read here.
    """
    checkpoint = load_checkpoint(source, Loading(device=device, dtype="float32"))
    form, weights = read_decoder(checkpoint.model)
    if precision == "float64":
        weights = weights.to(torch.float64)
    return Engine(Prepared(form, weights), checkpoint.tokenizer, checkpoint.name)


class Engine:
    """A decoder whose every site can be read and written. See `open_model`."""

    def __init__(
        self,
        prepared: Prepared,
        tokenizer: PreTrainedTokenizerBase | None = None,
        name: str = "",
        budget: Budget | None = None,
    ) -> None:
        self.prepared, self.tokenizer, self.name = prepared, tokenizer, name
        self.budget = budget or Budget()

    @property
    def form(self) -> Decoder:
        return self.prepared.form

    @property
    def weights(self) -> DecoderWeights:
        """The weights as the field reads them."""
        return self.prepared.weights

    def tokens(self, prompts: Sequence[str]) -> Int[Tensor, "batch pos"]:
        """The prompts' tokens, as the model's own tokenizer makes them.

        Raises ValueError where the prompts do not have equally many: positions would not mean the same.
        """
        if self.tokenizer is None:
            raise ValueError("this model was opened without a tokenizer: give token ids")
        ids = self.tokenizer(list(prompts))["input_ids"]
        lengths = sorted({len(one) for one in ids})
        if len(lengths) > 1:
            raise ValueError(
                f"the prompts have {', '.join(map(str, lengths))} tokens: group them by length, so that a position "
                "means the same in all of them"
            )
        return torch.tensor(ids)

    def run(
        self,
        tokens: Int[Tensor, "batch pos"],
        reads: Sequence[Site],
        patches: Sequence[Patch | Path] = (),
    ) -> dict[Site, Tensor]:
        """The values of sites in one run of the prompts, with all patches applied at once.

        Only what the reads depend on is computed. The shapes are those of `Site`. Raises SiteError for a site that
        the model does not have, PatchError for a value that does not fit, ValueError for tokens that cannot be.
        """
        tokens = self._checked_tokens(tokens)
        batch, length = tokens.shape
        sites = {site: checked(site, self.form, length) for site in reads}
        wanted, w = list(dict.fromkeys(sites.values())), self.weights.W_E
        settled = settle(self.prepared, batch, length, [tuple(patches)], lambda own: self.run(tokens, own))[0]
        joined = {
            site: torch.empty(shape_of(site, self.form, batch, length), dtype=w.dtype, device=w.device)
            for site in wanted
        }
        with progress("prompts") as advance:
            for rows in self._prompts_at_a_time(batch, length):
                edits = self._edits(tokens[rows], settled.of(rows))
                for site, value in forward(self.prepared, tokens[rows], wanted, edits).found.items():
                    joined[site][rows] = value
                advance(rows.stop, batch)
        return {asked: joined[site] for asked, site in sites.items()}

    def _edits(self, tokens: Int[Tensor, "batch pos"], settled: Settled) -> tuple[Edit, ...]:
        if not settled.paths:
            return settled.edits
        clean = forward(self.prepared, tokens, path_sites(settled, self.prepared, tokens.shape[1]))
        return followed(self.prepared, settled, clean.found, tokens.shape[1])

    def effects(
        self, tokens: Int[Tensor, "batch pos"], interventions: Sequence[Intervention], readout: Readout
    ) -> Effects:
        """A measure under each of many interventions, each a run of its own, and without any.

        Each run computes only the positions and layers that its intervention can reach. Raises as `run` does, and
        PatchError for edits behind the last residual stream, which `run` takes.
        """
        tokens = self._checked_tokens(tokens)
        batch, length = tokens.shape
        at = checked(
            Site("resid_post", readout.layer(self.form), position=readout.position), self.form, length
        )
        settled = settle(self.prepared, batch, length, interventions, lambda own: self.run(tokens, own))
        clean, patched = [], []
        with progress("interventions") as advance:
            for rows in self._prompts_at_a_time(batch, length):
                own, here = [one.of(rows) for one in settled], readout.of(rows)
                without, with_ = measured(self.prepared, tokens[rows], own, here, at, self.budget.activation)
                clean.append(without)
                patched.append(with_)
                advance(rows.stop, batch)
        return Effects(torch.cat(patched, dim=1), torch.cat(clean))

    def _checked_tokens(self, tokens: Int[Tensor, "batch pos"]) -> Int[Tensor, "batch pos"]:
        if tokens.dim() != 2 or not tokens.numel():
            raise ValueError(f"tokens are [batch pos], at least one of each, not {list(tokens.shape)}")
        if tokens.shape[1] > self.form.context:
            raise ValueError(f"{tokens.shape[1]} tokens do not fit in a context of {self.form.context}")
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= self.form.vocab:
            raise ValueError(
                f"token {low if low < 0 else high} is none of the {self.form.vocab} of this model"
            )
        return tokens.to(self.weights.W_E.device)

    def _prompts_at_a_time(self, batch: int, length: int) -> list[slice]:
        """Slices of the prompts, so many at a time as the budget allows."""
        form, size = self.form, self.weights.W_E.element_size()
        kept = 2 * form.layers * (form.heads + form.kv_heads) * form.d_head * size * length
        wide = form.d_mlp * size * length
        step = max(1, min(self.budget.kept // kept, 8 * self.budget.activation // wide))
        return [slice(start, min(start + step, batch)) for start in range(0, batch, step)]
