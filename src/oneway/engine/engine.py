"""A decoder of a known family opened: read any site, edit any site, measure many interventions."""

from collections.abc import Iterator, Sequence
from typing import get_args

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from oneway.engine.effects import Budget, measured
from oneway.engine.following import Following, Unembedded
from oneway.engine.forward import Kept, forward, read_on
from oneway.engine.opened import Effects, Opened
from oneway.engine.patch import Intervention, Patch, Path
from oneway.engine.path import check_paths, followed, path_sites
from oneway.engine.prefix import Prefix
from oneway.engine.prepared import Prepared
from oneway.engine.readout import Readout
from oneway.engine.settle import Settled, settle
from oneway.engine.site import Kind, Site, checked, shape_of
from oneway.engine.tap import Edit
from oneway.models.decoder import Decoder
from oneway.models.decoder_weights import DecoderWeights
from oneway.report.progress import progress


class Engine(Opened):
    """A decoder of a known family, whose every site can be read and written."""

    kinds = get_args(Kind)
    cannot = ()

    def __init__(
        self,
        prepared: Prepared,
        tokenizer: PreTrainedTokenizerBase | None = None,
        name: str = "",
        budget: Budget | None = None,
    ) -> None:
        self.prepared, self.tokenizer, self.name = prepared, tokenizer, name
        self.budget = budget or Budget()
        form = prepared.form
        self.architecture, self.layers = form.family, form.layers
        self.vocab, self.context = form.vocab, form.context
        self.device = prepared.weights.W_E.device

    @property
    def form(self) -> Decoder:
        return self.prepared.form

    @property
    def weights(self) -> DecoderWeights:
        """The weights as the field reads them."""
        return self.prepared.weights

    @property
    def bytes_per_token(self) -> int:
        form = self.form
        return 2 * form.layers * form.kv_heads * form.d_head * self.weights.W_E.element_size()

    def shape_of(self, site: Site, batch: int, length: int) -> tuple[int, ...]:
        return shape_of(site, self.form, batch, length)

    def stream(
        self, tokens: Int[Tensor, "batch pos"], reads: Sequence[Site], patches: Sequence[Patch | Path] = ()
    ) -> Iterator[tuple[slice, dict[Site, Tensor]]]:
        """See `Opened.stream`. Only what the reads depend on is computed."""
        tokens = self.checked_tokens(tokens)
        batch, length = tokens.shape
        sites = {site: checked(site, self.form, length) for site in reads}
        wanted = list(dict.fromkeys(sites.values()))
        settled = self._settled(tokens, [tuple(patches)])[0]
        with progress("prompts") as advance:
            for rows in self._prompts_at_a_time(batch, length):
                edits = self._edits(tokens[rows], settled.of(rows))
                found = forward(self.prepared, tokens[rows], wanted, edits).found
                yield rows, {asked: found[site] for asked, site in sites.items()}
                advance(rows.stop, batch)

    def _settled(
        self, tokens: Int[Tensor, "batch pos"], interventions: Sequence[Intervention]
    ) -> list[Settled]:
        batch, length = tokens.shape
        settled = settle(
            interventions,
            check=lambda site: checked(site, self.form, length),
            shape=lambda site: self.shape_of(site, batch, length),
            like=self.weights.W_E,
            read=lambda sites: self.run(tokens, sites),
        )
        for one in settled:
            check_paths(one, self.prepared)
        return settled

    def _edits(self, tokens: Int[Tensor, "batch pos"], settled: Settled) -> tuple[Edit, ...]:
        if not settled.paths:
            return settled.edits
        clean = forward(self.prepared, tokens, path_sites(settled, self.prepared, tokens.shape[1]))
        return followed(self.prepared, settled, clean.found, tokens.shape[1])

    def effects(
        self, tokens: Int[Tensor, "batch pos"], interventions: Sequence[Intervention], readout: Readout
    ) -> Effects:
        """See `Opened.effects`. Each run computes only the positions and layers that its intervention can reach."""
        tokens = self.checked_tokens(tokens)
        batch, length = tokens.shape
        at = checked(
            Site("resid_post", readout.layer(self.form.layers), position=readout.position), self.form, length
        )
        settled = self._settled(tokens, interventions)
        clean, patched = [], []
        with progress("interventions") as advance:
            for rows in self._prompts_at_a_time(batch, length):
                own, here = [one.of(rows) for one in settled], readout.of(rows)
                without, with_ = measured(self.prepared, tokens[rows], own, here, at, self.budget.activation)
                clean.append(without)
                patched.append(with_)
                advance(rows.stop, batch)
        return Effects(torch.cat(patched, dim=1), torch.cat(clean))

    def read_on(
        self, tokens: Int[Tensor, "row pos"], prefix: Prefix | None = None
    ) -> tuple[Following, Prefix]:
        """See `Reader.read_on`."""
        assert prefix is None or isinstance(prefix, Kept)
        tokens, texts = self.checked_tokens(tokens, 0 if prefix is None else prefix.length), len(tokens)
        rows = torch.arange(_of_few_sizes(texts), device=self.device).clamp(max=texts - 1)
        before = prefix if prefix is None else prefix.rows(rows)
        resid, kept = read_on(self.prepared, tokens[rows], before, self.layers - 1)
        final = self.prepared.final_norm(resid)
        return Unembedded(self.prepared, final, texts), kept.rows(rows[:texts])

    def _prompts_at_a_time(self, batch: int, length: int) -> list[slice]:
        """Slices of the prompts, so many at a time as the budget allows."""
        form, size = self.form, self.weights.W_E.element_size()
        kept = 2 * form.layers * (form.heads + form.kv_heads) * form.d_head * size * length
        wide = form.d_mlp * size * length
        step = max(1, min(self.budget.kept // kept, 8 * self.budget.activation // wide))
        return [slice(start, min(start + step, batch)) for start in range(0, batch, step)]


def _of_few_sizes(rows: int) -> int:
    """The next larger of few numbers, eight in each octave: oneDNN makes code for every shape of a product, and keeps
    it (400 KB each)."""
    step = 1 << max(0, rows.bit_length() - 4)
    return -(-rows // step) * step
