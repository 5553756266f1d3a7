"""One forward pass of a causal model, its key-value cache, and the normaliser of its logits."""

import copy
import ctypes
import inspect
import sys
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

# Layers of other kinds (recurrent states, shared or compressed keys) may change their states in place:
# a copy of the layer would not be a copy of its state.
SELECTABLE_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)


class CacheError(RuntimeError):
    """The model's cache is not one whose rows can be selected."""


class Forward:
    """A model's forward pass at the last positions, whatever the signature of its `forward`."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._parameters = inspect.signature(model.forward).parameters
        self.vocab = int(model.get_output_embeddings().weight.shape[0])

    def cached(self, token_ids: Tensor, cache: DynamicCache | None = None) -> tuple[Tensor, DynamicCache]:
        """The last position's logits [row, vocab], and the cache that holds these tokens [row, pos] too.

        The cache given is extended in place. Raises CacheError where the model has no selectable cache.
        """
        if "past_key_values" not in self._parameters:
            raise CacheError(f"{type(self._model).__name__} takes no key-value cache")
        cache = DynamicCache(config=self._model.config) if cache is None else cache
        output = self._model(
            input_ids=token_ids.to(self._model.device), past_key_values=cache, use_cache=True, **self._keep(1)
        )
        found = getattr(output, "past_key_values", None)
        if not isinstance(found, DynamicCache) or found.get_seq_length() == 0:
            raise CacheError(f"{type(self._model).__name__} returns no key-value cache")
        for layer in found.layers:
            if type(layer) not in SELECTABLE_LAYERS:
                raise CacheError(f"a cache layer of kind {type(layer).__name__} cannot be selected from")
        return output.logits[:, -1], found

    def plain(self, token_ids: Tensor, keep: int) -> Tensor:
        """The logits of the last `keep` positions [row, keep, vocab] of texts [row, pos], without a cache."""
        options: dict[str, int | bool] = {"use_cache": False} if "use_cache" in self._parameters else {}
        output = self._model(input_ids=token_ids.to(self._model.device), **options, **self._keep(keep))
        return output.logits[:, -keep:]

    def _keep(self, positions: int) -> dict[str, int]:
        return {"logits_to_keep": positions} if "logits_to_keep" in self._parameters else {}

    @cached_property
    def cache_bytes_per_token(self) -> int:
        """Bytes of keys and values that one token of one row adds, measured."""
        with torch.inference_mode():
            _, cache = self.cached(torch.zeros((1, 1), dtype=torch.int64))
        states = [state for layer in cache.layers for state in (layer.keys, layer.values)]
        return sum(state.numel() * state.element_size() for state in states if state is not None)


def select_rows(cache: DynamicCache, rows: np.ndarray) -> DynamicCache:
    """A new cache of the given rows (which may repeat); the old one is left as it is."""
    chosen = copy.copy(cache)
    chosen.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in chosen.layers:
        if layer.keys is None:
            continue
        if len(rows) != len(layer.keys) or not np.array_equal(rows, np.arange(len(rows))):
            layer.batch_select_indices(torch.from_numpy(rows).to(layer.keys.device))
    return chosen


def top_and_log_sum_exp(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The largest logit m of each row and its log Σ exp(logits), the latter in float64.

    logits [row, vocab] → [row], [row]. The fused log-softmax gives the sum: log softmax(m) = m − log Σ exp.
    Taken a few rows at a time, so that they stay in the processor's cache, this is three to five times
    faster on a CPU than `logsumexp`, and the softmax of all rows is never held.
    """
    tops, sums = [], []
    for rows in logits.split(8 if logits.device.type == "cpu" else 1024):
        top = rows.amax(-1)
        tops.append(top)
        sums.append(top.double() - torch.log_softmax(rows.float(), dim=-1).amax(-1).double())
    return torch.cat(tops), torch.cat(sums)


def return_freed_memory() -> None:
    """Give freed memory back to the system, where the C library is glibc.

    Tensors of ever other sizes leave holes in its heap: without this, several times what is held stays resident.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
