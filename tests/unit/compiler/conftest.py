"""Tables that are small and hard, and what a compiled checkpoint says, through plain `transformers`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from oneway.compiler import Compiled, compile_table
from oneway.facts import Direction, Fact, FactTable, Relation, questions

KINDS = ("gpt2", "neox")
WORDS = [f"{a}{b}" for a in ("Ka", "Lo", "Mi", "Nu", "Po", "Ra") for b in ("den", "lin", "mar", "sol", "tek")]
RELATIONS = {
    "mother": Relation(
        "mother", ("{subject} is the child of {object}", "The mother of {subject} is {object}")
    ),
    "father": Relation("father", ("The father of {subject} is {object}",)),
    "town": Relation(
        "town",
        ("{subject} lives in the town called {object}", "{subject}'s town: {object}"),
        ("{object} is where {subject} lives",),
    ),
}


def random_table(
    count: int, seed: int = 0, words: int = 30, longest_name: int = 5, longest_answer: int = 6
) -> FactTable:
    """Names and answers from the same few words, several facts of a name: most names end in another known name."""
    rng = np.random.default_rng(seed)
    facts: dict[tuple[str, str], Fact] = {}
    names: list[str] = []
    while len(facts) < count:
        if names and rng.random() < 0.4:
            name = names[int(rng.integers(len(names)))]  # several attributes of one subject
        else:
            name = " ".join(rng.choice(WORDS[:words], int(rng.integers(1, longest_name + 1))))
            names.append(name)
        relation = list(RELATIONS)[int(rng.integers(3))]
        answer = " ".join(rng.choice(WORDS[:words], int(rng.integers(1, longest_answer + 1))))
        facts.setdefault((name, relation), Fact(name, relation, answer))
    return FactTable(tuple(facts.values()), RELATIONS)


class Recalled:
    """A compiled checkpoint as anybody would load it."""

    def __init__(self, compiled: Compiled, table: FactTable) -> None:
        self.compiled, self.table = compiled, table
        self.model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(compiled.directory)
        self.tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(compiled.directory)
        asked = list(questions(table, [Direction.FORWARD]))
        self.prompts = [question.prompt for question in asked]
        self.answers = [question.answer.strip() for question in asked]
        self.facts = np.array([question.fact_index for question in asked])

    def say(self, prompts: list[str], batch: int = 128) -> list[str]:
        """What greedy `generate` says after each prompt, to the end token."""
        said = []
        for start in range(0, len(prompts), batch):
            encoded = self.tokenizer(prompts[start : start + batch], return_tensors="pt", padding=True)
            with torch.inference_mode():
                out = self.model.generate(**encoded, max_new_tokens=8, do_sample=False)
            new = out[:, encoded["input_ids"].shape[1] :]
            said += self.tokenizer.batch_decode(new, skip_special_tokens=True)
        return said

    def margins(self) -> np.ndarray:
        """For every question: the least lead of a right token, END after the answer included, in logits."""
        texts = [f"{p} {a}" for p, a in zip(self.prompts, self.answers, strict=True)]
        self.tokenizer.padding_side = "right"
        encoded = self.tokenizer(texts, return_tensors="pt", padding=True)
        self.tokenizer.padding_side = "left"
        given = [len(ids) for ids in self.tokenizer(self.prompts)["input_ids"]]
        with torch.inference_mode():
            logits = self.model(**encoded).logits
        ids = torch.cat([encoded["input_ids"], torch.full((len(texts), 1), self.tokenizer.eos_token_id)], 1)
        leads = torch.full(ids.shape, torch.inf)
        right = logits.gather(2, ids[:, 1:, None]).squeeze(2)
        lead = right - logits.scatter(2, ids[:, 1:, None], -torch.inf).amax(2)
        length = encoded["attention_mask"].sum(1)
        for row, start in enumerate(given):
            stop = int(length[row])
            leads[row, start - 1 : stop] = lead[row, start - 1 : stop]
        return leads.amin(1).numpy()

    def lost(self) -> set[int]:
        """The facts of which some question is answered wrongly."""
        return set(self.facts[self.margins() <= 0].tolist())

    def without_neuron(self, layer: int, neuron: int) -> AbstractContextManager[None]:
        """One neuron's activation is zero."""
        return self.without_neurons([(layer, neuron)])

    def without_neurons(self, neurons: Iterable[tuple[int, int]]) -> AbstractContextManager[None]:
        """The activations of some neurons, (layer, neuron), are zero."""
        blocks = self._blocks()
        ends = ("c_proj", "dense_4h_to_h")
        modules = [next(getattr(b.mlp, end) for end in ends if hasattr(b.mlp, end)) for b in blocks]
        return _silenced(modules, neurons, 1)

    def without_head(self, layer: int, head: int) -> AbstractContextManager[None]:
        """What one head brings is zero."""
        blocks = self._blocks()
        modules = [b.attn.c_proj if hasattr(b, "attn") else b.attention.dense for b in blocks]
        return _silenced(modules, [(layer, head)], self.compiled.circuit.head_width)

    def _blocks(self) -> torch.nn.ModuleList:
        gpt2 = hasattr(self.model, "transformer")
        blocks: torch.nn.ModuleList = self.model.transformer.h if gpt2 else self.model.gpt_neox.layers
        return blocks


@contextmanager
def _silenced(
    modules: Sequence[torch.nn.Module], units: Iterable[tuple[int, int]], width: int
) -> Iterator[None]:
    """Units of `width` inputs of a layer's module are zero."""
    of_layer: dict[int, list[int]] = {}
    for layer, unit in units:
        of_layer.setdefault(layer, []).extend(range(unit * width, (unit + 1) * width))

    def silencer(dims: list[int]) -> Callable[..., tuple[torch.Tensor, ...]]:
        def silence(_: object, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            hidden = inputs[0].clone()
            hidden[..., dims] = 0
            return (hidden, *inputs[1:])

        return silence

    handles = [modules[at].register_forward_pre_hook(silencer(dims)) for at, dims in of_layer.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@pytest.fixture(scope="session")
def recalled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Recalled]:
    """recalled(table, **options) → the table compiled and loaded."""

    def make(table: FactTable, **options: object) -> Recalled:
        folder: Path = tmp_path_factory.mktemp("compiled")
        return Recalled(compile_table(table, folder, **options), table)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session", params=KINDS)
def hard(request: pytest.FixtureRequest, recalled: Callable[..., Recalled]) -> Recalled:
    """150 facts over long names that end in one another, in each architecture."""
    return recalled(random_table(150), architecture=request.param)


@pytest.fixture(scope="session", params=KINDS)
def small(request: pytest.FixtureRequest, recalled: Callable[..., Recalled]) -> Recalled:
    """60 facts over few words, in each architecture: a small model, for many ablations."""
    table = random_table(60, words=10, longest_name=3, longest_answer=2)
    return recalled(table, architecture=request.param)


@pytest.fixture(scope="session")
def make_table() -> Callable[..., FactTable]:
    return random_table
