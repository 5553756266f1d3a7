"""A model opened, however it is run: the calls that all of them have."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from oneway.engine.patch import Intervention, Patch, Path
from oneway.engine.prefix import Reader
from oneway.engine.readout import Readout
from oneway.engine.site import Kind, Site


@dataclass(frozen=True, slots=True, eq=False)
class Effects:
    """A measure under each intervention, and without any."""

    patched: Float[Tensor, "intervention batch ..."]
    clean: Float[Tensor, "batch ..."]

    @property
    def change(self) -> Float[Tensor, "intervention batch ..."]:
        """What each intervention changes: patched − clean."""
        return self.patched - self.clean


class Opened(Reader):
    """A model whose sites can be read and written."""

    name: str
    architecture: str
    tokenizer: PreTrainedTokenizerBase | None
    layers: int
    context: int
    kinds: tuple[Kind, ...]
    """The kinds of sites that it has."""
    cannot: tuple[str, ...]
    """What of the engine's calls it does not do, and why; empty for the families that the engine knows."""

    @abstractmethod
    def shape_of(self, site: Site, batch: int, length: int) -> tuple[int, ...]:
        """The shape of a site's value."""

    @abstractmethod
    def stream(
        self, tokens: Int[Tensor, "batch pos"], reads: Sequence[Site], patches: Sequence[Patch | Path] = ()
    ) -> Iterator[tuple[slice, dict[Site, Tensor]]]:
        """What `run` gives, for some of the prompts at a time: which they are, and the values there."""

    def run(
        self, tokens: Int[Tensor, "batch pos"], reads: Sequence[Site], patches: Sequence[Patch | Path] = ()
    ) -> dict[Site, Tensor]:
        """The values of sites in one run of the prompts, with all patches applied at once.

        The shapes are those of `Site`. Raises SiteError for a site that the model does not have, PatchError for a
        value that does not fit, ValueError for tokens that cannot be.
        """
        whole: dict[Site, Tensor] = {}
        for rows, found in self.stream(tokens, reads, patches):
            for site, value in found.items():
                if site not in whole:
                    whole[site] = value.new_empty((len(tokens), *value.shape[1:]))
                whole[site][rows] = value
        return whole

    @abstractmethod
    def effects(
        self, tokens: Int[Tensor, "batch pos"], interventions: Sequence[Intervention], readout: Readout
    ) -> Effects:
        """A measure under each of many interventions, each a run of its own, and without any.

        Raises as `run` does, and PatchError for edits behind the last residual stream, which `run` takes.
        """

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

    def by_length(self, prompts: Sequence[str]) -> list[tuple[list[int], Int[Tensor, "batch pos"]]]:
        """Prompts of any length in groups of equally many tokens: which they are, and their tokens."""
        if self.tokenizer is None:
            raise ValueError("this model was opened without a tokenizer: give token ids")
        groups: dict[int, list[int]] = defaultdict(list)
        ids = self.tokenizer(list(prompts))["input_ids"]
        for number, one in enumerate(ids):
            groups[len(one)].append(number)
        return [
            (numbers, torch.tensor([ids[number] for number in numbers]))
            for _, numbers in sorted(groups.items())
        ]

    def checked_tokens(self, tokens: Int[Tensor, "batch pos"], behind: int = 0) -> Int[Tensor, "batch pos"]:
        """The tokens, which stand behind so many others, on the model's device. Raises ValueError for tokens that the
        model cannot read."""
        if tokens.dim() != 2 or not tokens.numel():
            raise ValueError(f"tokens are [batch pos], at least one of each, not {list(tokens.shape)}")
        if behind + tokens.shape[1] > self.context:
            raise ValueError(f"{behind + tokens.shape[1]} tokens do not fit in a context of {self.context}")
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= self.vocab:
            raise ValueError(f"token {low if low < 0 else high} is none of the {self.vocab} of this model")
        return tokens.to(self.device)
