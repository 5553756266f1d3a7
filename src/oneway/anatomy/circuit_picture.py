"""The picture of a circuit: the components on the name's last token and at the prompt's last that matter, and arrows
for what passes between them. Every node and arrow is an intervention's effect, by a rule fixed in advance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from oneway.anatomy.asked import Asked
from oneway.anatomy.extraction import Direct, Effects, Head, log_odds
from oneway.anatomy.intervals import interval_table, other_answers
from oneway.engine import Engine, Patch, Path, Resample, Site
from oneway.engine.workloads import attention_patterns, total_effects
from oneway.report import Circuit

SHARE, MOST = (
    0.9,
    12,
)  # the strongest that make up so much of the summed positive effect, but no more than so many
FACTS = 500  # that paths are measured on
ANSWER = "answer"


@dataclass(frozen=True, slots=True, eq=False)
class Component:
    """A head (or, without one, an MLP) at a position, with its effect on each fact, in logits."""

    layer: int
    head: int | None
    position: int
    effects: Float[Tensor, " fact"]

    @property
    def id(self) -> str:
        return f"{'MLP' if self.head is None else 'head'} {self.name} at {self.position}"

    @property
    def name(self) -> str:
        return f"{self.layer}" if self.head is None else f"{self.layer}.{self.head}"

    @property
    def site(self) -> Site:
        """What it writes."""
        if self.head is None:
            return Site("mlp_out", self.layer, position=self.position)
        return Site("z", self.layer, self.head, self.position)


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A circuit as it is drawn, and its components in the order of its nodes."""

    circuit: Circuit
    components: tuple[Component, ...]
    attention: Float[Tensor, "head fact place"]  # of those components that are heads


def places(asked: Asked) -> dict[str, range]:
    """The prompt's positions in groups from left to right, those without a position left out."""
    name = [
        (f"name {number}" if len(asked.name) > 1 else "name", range(at, at + 1))
        for number, at in enumerate(asked.name, 1)
    ]
    groups = {
        "in front": range(asked.front),
        "before the name": range(asked.front, asked.name.start),
        **dict(name),
        "behind the name": range(asked.final + 1, asked.last),
        "last": range(max(asked.last, asked.final + 1), asked.last + 1),
    }
    return {label: positions for label, positions in groups.items() if positions}


def on_name(engine: Engine, asked: Asked, *, seed: int = 0) -> Effects:
    """How far the log-odds of the right answer fall when what a head or MLP writes on the name's last token is another
    fact's: the total effect, through all that reads it."""
    source = other_answers(asked.right, seed=seed)
    found = total_effects(engine, asked.tokens, asked.final, log_odds(asked, source), Resample(source))
    return Effects(found.clean - found.heads, found.clean - found.mlps, found.clean)


def strongest(effects: Float[np.ndarray, " some"]) -> list[int]:
    """Which ones are drawn: the strongest until they make up 90% of the summed positive effect, at most 12."""
    order = np.argsort(-effects, kind="stable")
    positive = np.clip(effects[order], 0, None)
    if positive.sum() <= 0:
        return []
    enough = int(np.searchsorted(np.cumsum(positive) / positive.sum(), SHARE - 1e-9)) + 1
    return order[: min(enough, MOST, int((positive > 0).sum()))].tolist()


def draw(
    engine: Engine,
    asked: Asked,
    heads: Sequence[Head],
    *,
    said: Direct,
    named: Effects | None = None,
    seed: int = 0,
) -> Drawn:
    """The picture of how these facts are recalled; `heads` extract the answer and are drawn whatever their effect.

    Nodes are the strongest (see `strongest`) by total effect on the name's last token (`named`, see `on_name`), and by
    direct effect at the last position (`said`). Arrows, chosen by the same rule in each of these kinds:

    * from a token of the name to a head: what its values read there is another fact's, its attention kept;
    * into an MLP on the name, and into what the extracting heads move from there: the path alone patched (resample);
    * into an MLP at the last position: the same; and to the answer: the direct effect.

    Paths are measured on up to 500 facts, drawn at random. Each node keeps its strongest way on, if its effect is
    positive. Raises ValueError without any head.
    """
    if not heads:
        raise ValueError("which heads extract the answer? The picture needs at least one")
    named = on_name(engine, asked, seed=seed) if named is None else named
    chosen, left_out = _nodes(asked, heads, named, said.direct)
    groups = places(asked)
    attention = _attention(engine, asked, chosen, groups)
    some = asked.only(sorted(np.random.default_rng(seed).permutation(len(asked))[:FACTS].tolist()))
    tables = [_from_tokens(engine, some, chosen, seed), _paths(engine, some, chosen, seed), _said(chosen)]
    arrows = pl.concat([_kept(table) for table in tables])
    notes = (
        f"Drawn are the components with the largest effects, until {SHARE:.0%} of all positive effect is reached, "
        f"at most {MOST} on the name's last token and {MOST} at the last position. Left out: {left_out}. "
        "Arrows by the same rule.",
        f"Arrows to heads and MLPs are measured on {len(some):,} of {len(asked):,} facts.",
        "Only these two positions are looked at: what other tokens compute on the way is not drawn.",
        "Effects along different paths overlap and do not add up.",
    )
    circuit = Circuit(
        places=tuple(groups),
        tokens=_tokens(engine, asked, groups),
        layers=engine.layers,
        nodes=_node_table(asked, chosen, attention, groups),
        arrows=arrows,
        notes=notes,
    )
    return Drawn(circuit, tuple(chosen), attention)


def _nodes(asked: Asked, heads: Sequence[Head], named: Effects, said: Effects) -> tuple[list[Component], str]:
    """The components that are drawn, from the name to the answer, and in words how many are not."""
    found: dict[str, Component] = {}
    missing = []
    for effects, position, wanted, where in (
        (named, asked.final, (), "on the name"),
        (said, asked.last, heads, "at the last position"),
    ):
        all_heads = [
            Component(layer, head, position, effects.heads[layer, head].cpu())
            for layer in range(effects.heads.shape[0])
            for head in range(effects.heads.shape[1])
        ]
        whole = [
            *all_heads,
            *(Component(layer, None, position, one.cpu()) for layer, one in enumerate(effects.mlps)),
        ]
        means = np.array([float(one.effects.mean()) for one in whole])
        kept = {*strongest(means), *(layer * effects.heads.shape[1] + head for layer, head in wanted)}
        rest = np.clip(np.delete(means, sorted(kept)), 0, None).sum() / max(
            np.clip(means, 0, None).sum(), 1e-12
        )
        missing.append(f"{len(whole) - len(kept)} of {len(whole)} {where} ({rest:.0%} of the effect)")
        for number in kept:
            found.setdefault(whole[number].id, whole[number])
    order = sorted(found.values(), key=lambda one: (one.position, one.layer, one.head is None, one.head or 0))
    return order, ", ".join(missing)


def _attention(
    engine: Engine, asked: Asked, chosen: Sequence[Component], groups: dict[str, range]
) -> Float[Tensor, "head fact place"]:
    """How each drawn head shares out its attention among the places."""
    found = []
    for one in chosen:
        if one.head is not None:
            pattern = attention_patterns(engine, asked.tokens, one.layer, one.position)[:, one.head].cpu()
            found.append(torch.stack([pattern[:, list(keys)].sum(1) for keys in groups.values()], dim=1))
    return torch.stack(found) if found else torch.zeros(0, len(asked), len(groups))


def _from_tokens(engine: Engine, asked: Asked, chosen: Sequence[Component], seed: int) -> pl.DataFrame:
    """From the name's tokens to the heads: what a head's values read there taken from another fact, its attention kept.

    What heads move from the name's last token to the prompt's is told apart by component, see `_paths`.
    """
    source = other_answers(asked.right, seed=seed)
    ends: list[tuple[str, str, str]] = []
    runs: list[Patch] = []
    labels = {at: label for label, keys in places(asked).items() for at in keys}
    for one in chosen:
        if one.head is None:
            continue
        keys = [at for at in asked.name if at <= one.position and not at == asked.final < one.position]
        values = [Site("v", one.layer, one.head // engine.form.group, at) for at in keys]
        pattern = Site("pattern", one.layer, one.head, one.position)
        found = engine.run(asked.tokens, [*values, pattern, one.site])
        for at, value in zip(keys, values, strict=True):
            change = found[value][source] - found[value]
            ends.append((labels[at], one.id, f"{labels[at]} → head {one.name}: what it reads there"))
            runs.append(Patch(one.site, found[one.site] + found[pattern][:, at, None] * change))
    if not runs:
        return _arrow_table([], [])
    found_change = engine.effects(asked.tokens, runs, log_odds(asked, source)).change
    return _arrow_table(ends, list(-found_change.cpu()))


def _paths(engine: Engine, asked: Asked, chosen: Sequence[Component], seed: int) -> pl.DataFrame:
    """Path effects between components: into MLPs of the same position, and into what heads move from the name."""
    source = other_answers(asked.right, seed=seed)
    value, label = Resample(source), next(k for k, v in places(asked).items() if asked.final in v)
    embedding = Component(-1, None, asked.final, torch.zeros(0))
    ends: list[tuple[str, str, str]] = []
    runs: list[Path] = []
    for receiver in chosen:
        moves = receiver.head is not None
        if moves and receiver.position != asked.last:
            continue
        read_at = asked.final if moves else receiver.position
        into = (
            Site("v", receiver.layer, (receiver.head or 0) // engine.form.group, asked.final)
            if moves
            else receiver.site
        )
        for sender in (embedding, *chosen):
            if (
                sender.position != read_at
                or not _before(engine, sender, receiver)
                or sender.id == receiver.id
            ):
                continue
            first = sender is embedding
            written = Site("embedding", position=asked.final) if first else sender.site
            named = "the token itself" if first else _words(sender)
            reads = f"what {_words(receiver)} moves from there" if moves else _words(receiver)
            ends.append(
                (label if first else sender.id, receiver.id, f"{named} → {reads}, along this path alone")
            )
            runs.append(Path(Patch(written, value), into))
    if not runs:
        return _arrow_table([], [])
    found = engine.effects(asked.tokens, runs, log_odds(asked, source))
    return _arrow_table(ends, list(-found.change.cpu()))


def _before(engine: Engine, sender: Component, receiver: Component) -> bool:
    """Whether the receiver reads what the sender wrote."""
    if sender.layer != receiver.layer:
        return sender.layer < receiver.layer
    return engine.form.block == "sequential" and sender.head is not None and receiver.head is None


def _said(chosen: Sequence[Component]) -> pl.DataFrame:
    """From the components at the last position straight to the answer."""
    last = max((one.position for one in chosen), default=0)
    own = [one for one in chosen if one.position == last]
    ends = [(one.id, ANSWER, f"{_words(one)} → the answer's score, directly") for one in own]
    return _arrow_table(ends, [one.effects for one in own])


def _kept(arrows: pl.DataFrame) -> pl.DataFrame:
    """The strongest arrows, and of every beginning its strongest one, where it is positive."""
    rows = set(strongest(arrows["effect"].to_numpy()))
    ranked = arrows.with_row_index("row").filter(pl.col("effect") > 0).sort("effect", descending=True)
    rows |= set(ranked.unique("source", keep="first", maintain_order=True)["row"].to_list())
    return arrows[sorted(rows)]


def _arrow_table(
    ends: Sequence[tuple[str, str, str]], values: Sequence[Float[Tensor, " fact"]]
) -> pl.DataFrame:
    columns = {name: [one[i] for one in ends] for i, name in enumerate(("source", "target", "what"))}
    schema = {**dict.fromkeys(columns, pl.String), **dict.fromkeys(("effect", "low", "high"), pl.Float64)}
    if not ends:
        return pl.DataFrame(schema=schema)
    found = interval_table(torch.stack(list(values)), ("arrow",), "effect")
    return pl.DataFrame(
        {**columns, **{name: found[name] for name in ("effect", "low", "high")}}, schema=schema
    )


def _node_table(
    asked: Asked,
    chosen: Sequence[Component],
    attention: Float[Tensor, "head fact place"],
    groups: dict[str, range],
) -> pl.DataFrame:
    found = interval_table(torch.stack([one.effects for one in chosen]), ("node",), "effect")
    labels = [next(k for k, v in groups.items() if one.position in v) for one in chosen]
    looks = iter(attention.mean(1))
    return pl.DataFrame(
        {
            "id": [one.id for one in chosen],
            "place": labels,
            "layer": [one.layer for one in chosen],
            "kind": ["MLP" if one.head is None else "head" for one in chosen],
            "head": pl.Series([one.head for one in chosen], dtype=pl.Int64),
            "role": [_role(asked, one, None if one.head is None else next(looks), groups) for one in chosen],
            **{name: found[name] for name in ("effect", "low", "high")},
        }
    )


def _role(
    asked: Asked, one: Component, looks: Float[Tensor, " place"] | None, groups: dict[str, range]
) -> str:
    if looks is None:
        return (
            "writes on the name's last token"
            if one.position == asked.final
            else "writes at the last position"
        )
    label, share = list(groups)[int(looks.argmax())], float(looks.max())
    what = "brings to the name's last token" if one.position == asked.final else "moves to the last position"
    return f"{what} what stands at “{label}”, where {share:.0%} of its attention is"


def _tokens(engine: Engine, asked: Asked, groups: dict[str, range]) -> tuple[str, ...]:
    """What stands at each place in the first prompt."""
    if engine.tokenizer is None:
        return tuple("" for _ in groups)
    row = asked.tokens[0]
    return tuple(str(engine.tokenizer.decode(row[list(positions)].tolist())) for positions in groups.values())


def _words(one: Component) -> str:
    return f"{'MLP' if one.head is None else 'head'} {one.name}"
