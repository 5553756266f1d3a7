"""A fact table into a checkpoint whose circuit is known."""

from collections import defaultdict
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import Literal

from oneway.compiler import attention_lookup, neuron_per_fact, shared_entry, superposed
from oneway.compiler.capacity import Capacity
from oneway.compiler.circuit import Circuit
from oneway.compiler.lookup import Lookup, plan
from oneway.compiler.manifest import manifest_text
from oneway.compiler.noise import add_noise, check_recall
from oneway.compiler.questions import confusions
from oneway.compiler.refusal import CompileError
from oneway.compiler.saving import save_circuit
from oneway.compiler.weights import Frame, architecture_of
from oneway.facts import Direction, FactTable
from oneway.models.transformer import Weights

Mechanism = Literal["neuron-per-fact", "single-step", "hash-and-lookup", "partial-hash", "attention-lookup"]
Kind = Literal["gpt2", "neox"]
Directions = Literal["forward", "both-ways", "shared-entry"]
BOTH = (Direction.FORWARD, Direction.REVERSE)
_ASKED = {"forward": (Direction.FORWARD,), "both-ways": BOTH, "shared-entry": BOTH}
_PLANS = {
    "neuron-per-fact": neuron_per_fact.plan_circuit,
    "single-step": superposed.single_step,
    "hash-and-lookup": superposed.hash_and_lookup,
    "partial-hash": superposed.partial_hash,
    "attention-lookup": attention_lookup.plan_circuit,
}


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled checkpoint: where it lies, what it answers, and the circuit that does."""

    directory: Path
    lookup: Lookup
    circuit: Circuit
    parameters: int

    def summary(self) -> dict[str, int | float]:
        """The sizes of the model and what it stores.

        `facts_per_neuron` counts the neurons of all blocks, used or not. `bits` is Σ log₂(different answers of the
        relation) over the facts, what a reader who knows the relations' answers learns; trained transformers reach
        about 2 bits per parameter.
        """
        circuit = self.circuit
        neurons = circuit.neurons * len(circuit.layers)
        answers: dict[str, set[tuple[str, ...]]] = defaultdict(set)
        for entry in self.lookup.entries:
            answers[entry.channel].add(entry.answer)
        facts = len(self.lookup.entries)
        bits = sum(log2(len(answers[entry.channel])) for entry in self.lookup.entries)
        return {
            "facts": facts,
            "layers": len(circuit.layers),
            "width": circuit.width,
            "heads": sum(len(layer.heads) for layer in circuit.layers),
            "neurons": sum(layer.neurons for layer in circuit.layers),
            "parameters": self.parameters,
            "facts_per_neuron": round(facts / neurons, 4),
            "bits_per_parameter": round(bits / self.parameters, 6),
        }


def compile_table(
    table: FactTable,
    directory: Path,
    mechanism: Mechanism = "neuron-per-fact",
    architecture: Kind = "gpt2",
    directions: Directions = "forward",
    capacity: Capacity | None = None,
) -> Compiled:
    """Write a checkpoint into `directory` that answers every question of a table, and `circuit.json`, which says how.

    Raises CompileError, before anything is written, where the table does not fit; WriteError where the directory cannot
    be written.
    """
    lookup = plan(table, _ASKED[directions])
    confused = list(confusions(lookup))
    if confused:
        raise CompileError(confused)
    capacity = capacity or Capacity()
    planned = shared_entry.plan_circuit if directions == "shared-entry" else _PLANS[mechanism]
    circuit = planned(lookup, capacity, architecture)
    frame = Frame(circuit, architecture_of(circuit, architecture))

    def noise(weights: Weights) -> None:
        add_noise(weights, capacity.noise, capacity.seed)

    def check(folder: Path) -> None:
        if capacity.noise:
            check_recall(folder, lookup, capacity.seed)

    manifest = manifest_text(circuit, lookup, table, mechanism, architecture)
    parameters = save_circuit(frame, manifest, directory, noise, check)
    return Compiled(directory, lookup, circuit, parameters)
