"""What is dissected: an opened model, and the facts of one relation that it knows, asked alike."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from oneway.anatomy.asked import FEWEST_ANSWERS, FEWEST_FACTS, Asked, TooFewFacts, ask, probabilities
from oneway.anatomy.extraction import Direct, Head, direct
from oneway.anatomy.hashing import Names, names_of
from oneway.anatomy.neurons import AttributeNeuron, Excess, attribute_neurons, nonlinear_excess
from oneway.anatomy.remaining import Remaining
from oneway.anatomy.simplification import Simplified, simplify
from oneway.engine import Engine
from oneway.evidence.estimate import over_facts
from oneway.facts import FactTable

KNOWN = 0.5  # of the probability over the whole vocabulary: the guard of the posts against lucky guesses


class CannotTell(ValueError):
    """A step that this model or these facts do not allow; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much the dearer steps take: more gives narrower intervals.

    `most`: most facts that are dissected, drawn at random; `entities`: of whom single neurons are ablated; `splits` of
    trained probes; `quadruples` of names whose parts are swapped; `traced`: facts whose states are restored.
    """

    most: int = 1500
    entities: int = 16
    splits: int = 10
    quadruples: int = 500
    traced: int = 48


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """Everything that the steps of a dissection share, computed once.

    `asked` are the known facts whose prompts and names have equally many tokens, of the largest such group; `groups`
    has one row for every group, investigated or not; `notes` name every fact that is left out, with the reason.
    """

    engine: Engine
    table: FactTable
    relation: str
    template: int
    one_shot: int | None
    asked: Asked
    others: tuple[Asked, ...]
    groups: pl.DataFrame
    notes: tuple[str, ...]
    sizes: Sizes = field(default_factory=Sizes)
    seed: int = 0

    @cached_property
    def direct(self) -> Direct:
        """F1, which everything after it builds on."""
        return direct(self.engine, self.asked, seed=self.seed)

    @cached_property
    def half(self) -> Bool[Tensor, " fact"]:
        """A random half of the facts to choose by; what is chosen is judged on the others."""
        order = np.random.default_rng(self.seed).permutation(len(self.asked))
        chosen = torch.zeros(len(self.asked), dtype=torch.bool)
        chosen[order[: len(order) // 2]] = True
        return chosen

    @property
    def handful(self) -> int:
        """How many heads count as a few: a tenth of them, from one to six."""
        return max(1, min(6, round(self.engine.layers * self.engine.form.heads / 10)))

    @property
    def extracting(self) -> list[Head]:
        """The heads with the largest direct effects, a handful, strongest first."""
        return self.direct.direct.top_heads(self.handful)

    @property
    def head(self) -> Head:
        """The extracting head: the one with the largest direct effect.

        Raises CannotTell where it is in the first layer, which reads a name before anything was looked up.
        """
        head = self.extracting[0]
        if head[0] == 0:
            raise CannotTell(
                f"the head that says the answer is {head[1]} of the first layer: it reads embeddings"
            )
        return head

    @cached_property
    def remaining(self) -> Remaining:
        return Remaining(self.engine, self.asked, self.head, seed=self.seed)

    @cached_property
    def simplified(self) -> Simplified:
        """F8, the effective model that the search finds; F13 looks through its layers."""
        return simplify(self.remaining.reader)

    @cached_property
    def names(self) -> Names:
        """Raises CannotTell for names that are not of two tokens."""
        try:
            return names_of(self.asked)
        except ValueError as error:
            raise CannotTell(str(error)) from error

    @cached_property
    def excess(self) -> Excess:
        """F11; the neurons that make most of it are ablated in N1."""
        return nonlinear_excess(self.engine, self.asked, self.names, self.head)

    @cached_property
    def attribute_neuron(self) -> AttributeNeuron:
        """F12: of the neurons that tell one answer, that which tells its own best; F16 looks at it again.

        Raises CannotTell where no answer is held by two facts in each half.
        """
        if not self.attribute_neurons:
            raise CannotTell("no answer is held by two facts in each half of the facts")
        return max(self.attribute_neurons, key=lambda one: one.chosen_at)

    @cached_property
    def attribute_neurons(self) -> list[AttributeNeuron]:
        return attribute_neurons(self.engine, self.asked, self.head, seed=self.seed)

    @property
    def lookup_layers(self) -> range:
        """The layers below the extracting head whose MLPs can read the whole name on its last token.

        In a parallel block the first MLP reads the last token alone. Raises CannotTell where there is none.
        """
        first = 1 if self.engine.form.block == "parallel" and len(self.asked.name) > 1 else 0
        layers = range(first, self.head[0])
        if not layers:
            raise CannotTell(f"no MLP below layer {self.head[0]} can read the whole name")
        return layers

    def asked_by(self, *, template: int | None = None, said: int = 0, relation: str = "") -> Asked:
        """The same facts in other words, or going on with the answer; or another relation's, of any entity.

        Raises CannotTell where they cannot be asked so.
        """
        relation = relation or self.relation
        words = self.table.relations[relation]
        assert self.engine.tokenizer is not None
        try:
            questions = ask(
                self.engine.tokenizer,
                self.table,
                relation,
                template=self.template if template is None else template,
                one_shot=None if self.one_shot is None or not words.one_shot else self.one_shot,
                said=said,
            )
        except (TooFewFacts, ValueError) as error:
            raise CannotTell(str(error)) from error
        mine = {fact.subject for fact in self.asked.facts}

        def in_common(group: Asked) -> Sequence[int]:
            same = len(group.name) == len(self.asked.name)
            return [i for i, fact in enumerate(group.facts) if same and fact.subject in mine]

        best = max(questions.groups, key=lambda group: len(in_common(group)))
        return best.only(in_common(best))


def prepare(
    engine: Engine,
    table: FactTable,
    relation: str = "",
    *,
    template: int = 0,
    one_shot: int | None = None,
    sizes: Sizes | None = None,
    seed: int = 0,
) -> Specimen:
    """Ask the facts of a relation (default: the one with most facts), keep those that the model knows.

    With a relation that has one-shot prefixes the first is used unless another is named; −1 stands for none.
    Raises TooFewFacts where fewer than 20 facts with 3 answers are known, with what was known, and ValueError where
    the table has no such relation.
    """
    sizes = sizes or Sizes()
    relation = relation or _largest(table)
    if relation not in table.relations:
        raise ValueError(f"no relation {relation!r} in the table; there are: {', '.join(table.relations)}")
    prefix = _prefix(table, relation, one_shot)
    assert engine.tokenizer is not None
    questions = ask(engine.tokenizer, table, relation, template=template, one_shot=prefix)
    rows, kept, notes = [], [], list(questions.notes)
    for group in questions.groups:
        chances = probabilities(engine, group)
        own = chances.gather(1, group.right[:, None])[:, 0]
        known = own > KNOWN
        right = over_facts((chances.argmax(1) == group.right).double().numpy(), "probability")
        rows.append(
            {
                "name_tokens": len(group.name),
                "facts": len(group),
                "known": int(known.sum()),
                "right_among_answers": right.mean,
                "low": right.low,
                "high": right.high,
            }
        )
        if unknown := len(group) - int(known.sum()):
            notes.append(
                f"{unknown} of {len(group)} facts with names of {len(group.name)} tokens left out: the model "
                f"gives the right answer no more than {KNOWN:g} of the probability"
            )
        kept.append(_fewer(group.only(known), sizes.most, seed, notes))
    enough = [g for g in kept if len(g) >= FEWEST_FACTS and len(g.right.unique()) >= FEWEST_ANSWERS]
    if not enough:
        raise TooFewFacts(
            f"{relation}: the model knows too few facts to be dissected; {FEWEST_FACTS} with {FEWEST_ANSWERS} answers "
            "are needed, asked alike. " + "; ".join(notes)
        )
    enough.sort(key=len, reverse=True)
    return Specimen(
        engine=engine,
        table=table,
        relation=relation,
        template=template,
        one_shot=prefix,
        asked=_with_its_answers(enough[0]),
        others=tuple(map(_with_its_answers, enough[1:])),
        groups=pl.DataFrame(rows),
        notes=tuple(notes),
        sizes=sizes,
        seed=seed,
    )


def _largest(table: FactTable) -> str:
    counts: dict[str, int] = {}
    for fact in table:
        counts[fact.relation] = counts.get(fact.relation, 0) + 1
    if not counts:
        raise ValueError("the table holds no facts")
    return max(counts, key=lambda name: counts[name])


def _prefix(table: FactTable, relation: str, one_shot: int | None) -> int | None:
    if one_shot is not None:
        return None if one_shot < 0 else one_shot
    return 0 if table.relations[relation].one_shot else None


def _fewer(asked: Asked, most: int, seed: int, notes: list[str]) -> Asked:
    if len(asked) <= most:
        return asked
    notes.append(f"{len(asked) - most} of {len(asked)} known facts left out: {most} are drawn at random")
    chosen = np.random.default_rng(seed).permutation(len(asked))[:most]
    return asked.only(np.sort(chosen).tolist())


def _with_its_answers(asked: Asked) -> Asked:
    """Without the answers that none of its facts has: an answer that is never right is no alternative."""
    used: Int[Tensor, " used"] = asked.right.unique()
    place = {int(answer): i for i, answer in enumerate(used)}
    return replace(
        asked,
        answers=asked.answers[used],
        labels=tuple(asked.labels[int(answer)] for answer in used),
        right=torch.tensor([place[int(answer)] for answer in asked.right]),
    )
