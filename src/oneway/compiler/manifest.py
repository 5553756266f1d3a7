"""`circuit.json`: every head with its role, every neuron with the facts it serves, every direction with its name."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from oneway.compiler.circuit import Circuit
from oneway.compiler.lookup import Lookup
from oneway.facts import FactTable

FORMAT, VERSION = "oneway circuit", 1
MANIFEST = "circuit.json"


class ManifestError(ValueError):
    """A file that is no manifest that this version reads."""


def manifest_text(
    circuit: Circuit, lookup: Lookup, table: FactTable, mechanism: str, architecture: str
) -> str:
    """The manifest of a circuit as JSON. See docs/compiler.md for its fields."""
    alphabets, keys = _alphabets(circuit)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "mechanism": mechanism,
        "architecture": {
            "kind": architecture,
            "layers": len(circuit.layers),
            "d_model": circuit.width,
            "heads": circuit.heads,
            "d_mlp": circuit.neurons,
            "vocab": len(circuit.vocabulary),
            "positions": circuit.positions,
        },
        "facts": [[fact.subject, fact.relation, fact.object] for fact in table],
        "templates": [
            {"channel": form.channel, "before": form.before, "after": form.after} for form in lookup.forms
        ],
        "heads": list(_heads(circuit)),
        "neurons": list(_neurons(circuit)),
        "subspaces": {
            name: {"start": span.start, "width": span.width, "alphabet": keys.get(name)}
            for name, span in circuit.residual.spans.items()
            if span.width
        },
        "alphabets": alphabets,
    }
    return json.dumps(content, ensure_ascii=False)


def _heads(circuit: Circuit) -> Iterator[dict[str, Any]]:
    names = {span: name for name, span in circuit.residual.spans.items() if span.width}
    for layer, of in enumerate(circuit.layers):
        for index, head in enumerate(of.heads):
            yield {
                "layer": layer,
                "head": index,
                "role": head.role.value,
                "label": head.label,
                "offset": head.offset,
                "reads": names[head.reads],
                "writes": names[head.writes],
                "channels": head.channels,
                "facts": head.facts,
            }


def _neurons(circuit: Circuit) -> Iterator[dict[str, Any]]:
    for layer, of in enumerate(circuit.layers):
        first = 0
        for bank in of.banks:
            for index, (label, facts) in enumerate(zip(bank.labels, bank.facts, strict=True)):
                found = {
                    "layer": layer,
                    "neuron": first + index,
                    "role": bank.role.value,
                    "label": label,
                    "facts": facts,
                }
                if bank.effects is not None:
                    found["effects"] = np.round(bank.effects[index].astype(float), 4).tolist()
                yield found
            first += len(bank)


def _alphabets(circuit: Circuit) -> tuple[dict[str, Any], dict[str, str]]:
    """Every alphabet once, under the name of the first subspace that has it, and which one a subspace has."""
    of_object: dict[int, str] = {}
    alphabets: dict[str, Any] = {}
    keys: dict[str, str] = {}
    for subspace, alphabet in circuit.directions.items():
        key = keys[subspace] = of_object.setdefault(id(alphabet), subspace)
        if key == subspace:
            n, width = alphabet.codes.shape
            bits = n == width and np.array_equal(alphabet.codes, np.eye(n))
            codes = None if bits else np.round(alphabet.codes, 6).astype(float).tolist()
            alphabets[key] = {"words": alphabet.words, "codes": codes}
    return alphabets, keys


@dataclass(frozen=True)
class Manifest:
    """A manifest that was read; `content` is the JSON as it is documented."""

    content: Mapping[str, Any]

    @property
    def heads(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.content["heads"]
        return found

    @property
    def neurons(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.content["neurons"]
        return found

    def shape(self, name: str) -> int:
        """A number of the architecture: layers, d_model, heads, d_mlp, vocab, positions."""
        return int(self.content["architecture"][name])

    def direction_names(self) -> Iterator[str]:
        """Every direction: "subspace | word"."""
        for subspace, place in self.content["subspaces"].items():
            if place["alphabet"] is not None:
                for word in self.content["alphabets"][place["alphabet"]]["words"]:
                    yield f"{subspace} | {word}"

    def direction(self, name: str) -> Float[np.ndarray, " d_model"]:
        """The unit vector of a direction in the residual stream.

        Raises ManifestError for a name that the circuit does not have.
        """
        subspace, _, word = name.partition(" | ")
        place = self.content["subspaces"].get(subspace)
        alphabet = place and self.content["alphabets"].get(place["alphabet"])
        if not alphabet or word not in alphabet["words"]:
            raise ManifestError(
                f"the circuit has no direction {name!r}: they are named 'subspace | word', such as "
                f"{next(iter(self.direction_names()), '')!r}"
            )
        index = alphabet["words"].index(word)
        vector = np.zeros(self.shape("d_model"))
        if alphabet["codes"] is None:
            vector[place["start"] + index] = 1.0
        else:
            vector[place["start"] : place["start"] + place["width"]] = alphabet["codes"][index]
        return vector / np.linalg.norm(vector)


def read_manifest(path: str | Path) -> Manifest:
    """The manifest in a file, or in the directory of a compiled checkpoint.

    Raises ManifestError where there is none of this version.
    """
    file = Path(path)
    if file.is_dir():
        file = file / MANIFEST
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ManifestError(f"there is no {file}: `oneway compile` writes it beside the weights") from None
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{file} is not JSON: {error}; compile the table again") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ManifestError(f"{file} is not a circuit that `oneway compile` wrote")
    if content.get("version") != VERSION:
        raise ManifestError(
            f"{file} has version {content.get('version')} of the format, this oneway reads {VERSION}: compile again"
        )
    return Manifest(content)
