"""A circuit to a Hugging Face checkpoint directory, a few layers at a time: no model is ever whole in memory."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor
from transformers import GenerationConfig

from oneway.compiler.manifest import MANIFEST
from oneway.compiler.tokenizer import BOS, END, make_tokenizer
from oneway.compiler.weights import Frame, layer_weights, top_weights
from oneway.evidence.atomic import write_files
from oneway.models.export import configuration, layout_of
from oneway.models.transformer import Weights

Noise = Callable[[Weights], object]

_SHARD_BYTES = 1 << 30
_CLASSES = {"gpt2": "GPT2LMHeadModel", "gpt_neox": "GPTNeoXForCausalLM"}


def save_circuit(
    frame: Frame, manifest: str, directory: Path, noise: Noise, check: Callable[[Path], object]
) -> int:
    """Write weights (safetensors), configuration, tokenizer and `circuit.json`, `config.json` last.

    `check` is called with the folder before anything is in its place; what it raises leaves nothing behind.
    Returns the number of parameters. Raises WriteError where the directory cannot be written.
    """

    parameters = 0

    def write(folder: Path) -> None:
        nonlocal parameters
        parameters = _write_weights(frame, folder, noise)
        (folder / MANIFEST).write_text(manifest, encoding="utf-8")
        vocabulary = frame.circuit.vocabulary
        make_tokenizer(vocabulary, frame.circuit.positions).save_pretrained(folder)
        ids = {"bos_token_id": vocabulary.index(BOS), "eos_token_id": vocabulary.index(END)}
        config = configuration(frame.architecture, **ids)
        config.pad_token_id = ids["eos_token_id"]
        config.architectures = [_CLASSES[config.model_type]]
        config.dtype = "float32"
        GenerationConfig(**ids, pad_token_id=ids["eos_token_id"]).save_pretrained(folder)
        config.save_pretrained(folder)
        check(folder)

    write_files(directory, write, last="config.json")
    return parameters


def _write_weights(frame: Frame, folder: Path, noise: Noise) -> int:
    """Write the weights, in one file or in several with an index; the number of parameters."""
    groups = list(_groups(frame))
    files = (
        ["model.safetensors"]
        if len(groups) == 1
        else [f"model-{number:05}-of-{len(groups):05}.safetensors" for number in range(1, len(groups) + 1)]
    )
    held: dict[str, str] = {}
    total = 0
    for file, group in zip(files, groups, strict=True):
        state = _state(frame, group, noise)
        save_file(state, folder / file, metadata={"format": "pt"})
        held |= dict.fromkeys(state, file)
        total += sum(value.numel() for value in state.values())
    if len(files) > 1:
        index = {"metadata": {"total_size": 4 * total}, "weight_map": held}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    return total


def _groups(frame: Frame) -> Iterator[range]:
    """Runs of layers that make a file each; the first file also has what is not in a layer."""
    a = frame.architecture
    bytes_of_layer = 4 * (4 * a.width**2 + 2 * a.width * a.mlp)
    step = max(1, _SHARD_BYTES // bytes_of_layer)
    for start in range(0, a.layers, step):
        yield range(start, min(start + step, a.layers))


def _state(frame: Frame, layers: range, noise: Noise) -> dict[str, Tensor]:
    """The tensors of some layers by the family's names."""
    a, layout = frame.architecture, layout_of(frame.architecture)
    weights = top_weights(frame) if layers.start == 0 else {}
    for layer in layers:
        found = layer_weights(frame, frame.circuit.layers[layer])
        weights |= {f"blocks.{layer}.{name}": value for name, value in found.items()}
    noise(weights)
    return {
        theirs: layout.stored(short, weights[name], a).contiguous()
        for name, short, theirs in layout.names(a)
        if name in weights
    }
