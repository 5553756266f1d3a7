"""A model read on by its own code, with its own cache of keys and values."""

import copy
import inspect
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from oneway.engine.following import Following, Scored
from oneway.engine.prefix import Prefix, Reader
from oneway.models.placement import entry

# Layers of other kinds (recurrent states, shared or compressed keys) may change their states in place:
# a copy of the layer would not be a copy of its state.
SELECTABLE_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)


class CacheError(RuntimeError):
    """The model's cache is not one whose rows can be selected."""


@dataclass(frozen=True, slots=True, eq=False)
class OwnPrefix(Prefix):
    """The model's own cache."""

    cache: DynamicCache
    length: int

    def rows(self, rows: Int[Tensor, " row"]) -> "OwnPrefix":
        chosen = self.copied()
        for layer in chosen.layers:
            if layer.keys is not None:
                layer.batch_select_indices(rows.to(layer.keys.device))
        return OwnPrefix(chosen, self.length)

    def copied(self) -> DynamicCache:
        """A cache that can be extended while this one stays as it is: its layers replace their tensors, they do not
        write to them."""
        new = copy.copy(self.cache)
        new.layers = [copy.copy(layer) for layer in self.cache.layers]
        return new


class OwnCode(Reader):
    """Any causal language model, whatever the signature of its `forward`."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._parameters = inspect.signature(model.forward).parameters
        self.vocab, self.device = int(model.get_output_embeddings().weight.shape[0]), entry(model)

    @cached_property
    def bytes_per_token(self) -> int:
        """Measured. Raises CacheError as `read_on` does."""
        _, prefix = self.read_on(torch.zeros((1, 1), dtype=torch.int64))
        states = [state for layer in prefix.cache.layers for state in (layer.keys, layer.values)]
        return sum(state.numel() * state.element_size() for state in states if state is not None)

    @torch.inference_mode()
    def read_on(
        self, tokens: Int[Tensor, "row pos"], prefix: Prefix | None = None
    ) -> tuple[Following, OwnPrefix]:
        """See `Reader.read_on`. Raises CacheError where the model has no cache whose rows can be selected."""
        name = type(self._model).__name__
        if "past_key_values" not in self._parameters:
            raise CacheError(f"{name} takes no key-value cache")
        assert prefix is None or isinstance(prefix, OwnPrefix)
        cache = DynamicCache(config=self._model.config) if prefix is None else prefix.copied()
        output = self._model(
            input_ids=tokens.to(self.device), past_key_values=cache, use_cache=True, **self._keep(1)
        )
        found = getattr(output, "past_key_values", None)
        if not isinstance(found, DynamicCache) or found.get_seq_length() == 0:
            raise CacheError(f"{name} returns no key-value cache")
        for layer in found.layers:
            if type(layer) not in SELECTABLE_LAYERS:
                raise CacheError(f"a cache layer of kind {type(layer).__name__} cannot be selected from")
        return Scored(output.logits[:, -1]), OwnPrefix(found, found.get_seq_length())

    @torch.inference_mode()
    def plain(self, tokens: Int[Tensor, "row pos"], keep: int) -> Float[Tensor, "row keep vocab"]:
        """The scores at the last `keep` positions of whole texts, without a cache."""
        options: dict[str, int | bool] = {"use_cache": False} if "use_cache" in self._parameters else {}
        output = self._model(input_ids=tokens.to(self.device), **options, **self._keep(keep))
        return output.logits[:, -keep:]

    def _keep(self, positions: int) -> dict[str, int]:
        return {"logits_to_keep": positions} if "logits_to_keep" in self._parameters else {}
