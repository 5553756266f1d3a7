"""What a model must show before it is asked anything: finite weights, a tokenizer of its own, no look ahead."""

import inspect

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from oneway.models.checkpoint_files import CheckpointError, WeightFiles, first_line
from oneway.models.placement import entry, placed_weights


def check_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Refuse a slow tokenizer, and one with a token that the model has no embedding for."""
    if not getattr(tokenizer, "is_fast", False):
        raise CheckpointError(
            f"{name} has a slow tokenizer, which gives no character offsets: save it as tokenizer.json"
        )
    rows = int(model.get_input_embeddings().weight.shape[0])
    needed = 1 + max(tokenizer.get_vocab().values(), default=-1)
    if needed > rows:
        raise CheckpointError(
            f"the tokenizer of {name} has {needed} tokens, its embedding only {rows} rows: use the tokenizer that "
            "the model was trained with, or resize the embedding (resize_token_embeddings) and save it"
        )
    if not needed:
        raise CheckpointError(f"the tokenizer of {name} has no tokens: copy the checkpoint again")


def check_finite(model: PreTrainedModel, name: str, files: WeightFiles | None = None) -> None:
    """Refuse weights that are NaN or infinite: nothing computed from them would be a number."""
    for tensor, value in placed_weights(model):
        # The sum over NaN or infinity is neither a number nor finite, and needs no mask in memory.
        if value.is_floating_point() and not bool(value.detach().float().sum().isfinite()):
            wrong = int((~value.detach().float().isfinite()).sum())
            if wrong:
                place = files.place(tensor) if files else ""
                raise CheckpointError(
                    f"{tensor}{place} of {name} holds {wrong} values that are NaN or infinite: "
                    "the checkpoint is damaged, or its training diverged"
                )


def check_causal(model: PreTrainedModel, name: str) -> None:
    """Refuse a model whose logits at a position depend on the tokens behind it (BERT and its kin).

    Two texts that share their first two tokens are read in one pass; there their logits must agree within
    max(1e-3, 16 · ε) of the logits' spread. Those of a causal model, computed alike, are equal or nearly so; a
    trained encoder's differ by as much as they spread.
    """
    if model.get_output_embeddings() is None:
        raise CheckpointError(f"{name} has no language-model head: it is not a causal language model")
    vocab = int(model.get_output_embeddings().weight.shape[0])
    limit = getattr(model.config, "max_position_embeddings", None) or 8
    length, shared = min(8, limit), 2
    if vocab < 2 or length <= shared:
        return
    texts = torch.stack([torch.arange(length), torch.arange(length)]) % vocab
    texts[1, shared:] = (texts[1, shared:] + max(1, min(length, vocab // 2))) % vocab
    options = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
    try:
        with torch.inference_mode():
            logits = model(input_ids=texts.to(entry(model)), **options).logits.float()
    except Exception as error:  # whatever a foreign model raises on plain token ids
        raise CheckpointError(f"{name} reads no plain text of token ids: {first_line(error)}") from error
    seen = (logits[0, :shared] - logits[1, :shared]).abs().max()
    if seen > max(1e-3, 16 * torch.finfo(model.dtype).eps) * logits.std():
        raise CheckpointError(
            f"{name} ({type(model).__name__}) looks at the tokens behind the one that it predicts: "
            "it is an encoder, not a causal language model"
        )
