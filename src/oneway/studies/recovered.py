"""Early MLPs replaced by the table of facts that they are said to be: how much of the loss comes back?

The outputs of the MLPs of the first half of the layers are written out as a table. On the last token of every name
that is known they are what they are where the name stands alone, behind a BOS; on all other tokens they are their mean
over the text. Loss recovered = (loss with the mean everywhere − loss with the table) / (loss with the mean everywhere −
loss of the model): 0 with a table without entries, 1 for the MLPs themselves. Beside it: the names' entries shuffled, a
table of single tokens (each token's mean outputs over the text), and both tables together, a name before its tokens.

Every seed grows the default model in small (see `oneway.studies.small_model`). *Facts* are sentences about athletes
that the model completes rightly (every token of the answer likelier than one half), and their athletes are the names of
the table; *others* are sentences about people whom the table does not hold; *own text* is what the model was taught
with, and there the table holds everybody of the world. Losses are on the answers, as in training. With `--model`,
`--facts` and `--text` it is any checkpoint, the names of the facts that it knows, and all tokens of the text; each seed
is then a part of the sentences and of the text.

Source: Nanda, Rajamanoharan, Kramár, Shah 2023, Fact Finding, post 1, a footnote, which proposes this; the controls are
ours.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from oneway.evidence import Claim, Estimate, Measured, over_seeds
from oneway.evidence.study import Study
from oneway.facts import FactTable, resolve, training_sentences
from oneway.studies.pieces import Row, kept, rows_of
from oneway.studies.small_model import Small, prepare_small, small_world

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from oneway.anatomy.written_out import Key, Text, WrittenOut
    from oneway.engine import Engine
    from oneway.training.teach import Course

SOURCE = "Fact Finding (Nanda et al. 2023), post 1, a footnote"
FACTS, OTHERS, OWN = "facts", "others", "own text"
MODEL, MEAN, NAMES, SHUFFLED = "the model", "mean", "names", "names shuffled"
TOKENS, BOTH = "tokens", "tokens and names"
SCHEMA = {"seed": pl.Int64, "text": pl.String, "table": pl.String, "nats": pl.Float64, "targets": pl.Int64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What is grown; or with a `model`, `facts` (and `relations`) and a `text` these.

    `share` is that of the layers whose MLPs are replaced, the first ones; `batches` are those of a grown model's own
    text, `tokens` those that are read of a text that is given.
    """

    model: str = ""
    facts: str = ""
    relations: str = ""
    text: str = ""
    device: str = "cpu"
    small: Small = field(default_factory=Small)
    share: float = 0.5
    batches: int = 20
    tokens: int = 20_000
    seeds: tuple[int, ...] = (0, 1, 2)


def quick() -> Config:
    """Three seeds of a small model: under a minute on one core."""
    return Config()


def standard() -> Config:
    """Ten seeds."""
    return Config(seeds=tuple(range(10)))


def paper() -> Config:
    """Pythia 2.8B, the shipped athletes, and a text that is given with `--text`. A GPU with 24 GiB."""
    return Config(model="EleutherAI/pythia-2.8b", facts="athletes", share=7 / 32, seeds=tuple(range(10)))


def check(config: Config) -> None:
    """Raises ValueError unless model, facts and text are all given, or none; and where the text is no file."""
    if len({bool(config.model), bool(config.facts), bool(config.text)}) > 1:
        raise ValueError("give --model, --facts and --text, or none of them: then a small model is grown")
    if config.text and not Path(config.text).is_file():
        raise ValueError(f"--text {config.text} is no file")


CLAIMS = (
    Claim(
        id="F20",
        text="A table of names gives back most of what early MLPs do for the facts that the model knows.",
        source=SOURCE,
        rule="Control: with the mean everywhere facts cost 0.5 nats a token more (lower bound). Supports: lower bound "
        "of the loss recovered on facts above 0.5. Refutes: upper bound below 0.5.",
        control=lambda m: m["excess_facts"].low > 0.5,
        supports=lambda m: m["names_facts"].low > 0.5,
        refutes=lambda m: m["names_facts"].high < 0.5,
        reads=("excess_facts", "names_facts"),
    ),
    Claim(
        id="F20.shuffled",
        text="It is the facts that the entries hold: shuffled among the names they give back nothing.",
        source="ours: a control",
        rule="Control: as F20. Supports: upper bound of the loss recovered on facts below 0.1. Refutes: lower bound "
        "above 0.1.",
        control=lambda m: m["excess_facts"].low > 0.5,
        supports=lambda m: m["shuffled_facts"].high < 0.1,
        refutes=lambda m: m["shuffled_facts"].low > 0.1,
        reads=("excess_facts", "shuffled_facts"),
    ),
    Claim(
        id="F20.others",
        text="The table gives back nothing on people whom it does not hold.",
        source="ours: a control",
        rule="Control: with the mean everywhere sentences about others cost 0.5 nats a token more (lower bound). "
        "Supports: upper bound of the loss recovered on them below 0.1. Refutes: lower bound above 0.1.",
        control=lambda m: m["excess_others"].low > 0.5,
        supports=lambda m: m["names_others"].high < 0.1,
        refutes=lambda m: m["names_others"].low > 0.1,
        reads=("excess_others", "names_others"),
    ),
    Claim(
        id="F20.tokens",
        text="A table of single tokens does not do: facts are kept under whole names.",
        source="ours: a control",
        rule="Control: as F20. Supports: lower bound of the loss recovered on facts by names less that by tokens "
        "above 0.2. Refutes: upper bound below 0.2.",
        control=lambda m: m["excess_facts"].low > 0.5,
        supports=lambda m: m["names_over_tokens"].low > 0.2,
        refutes=lambda m: m["names_over_tokens"].high < 0.2,
        reads=("excess_facts", "names_over_tokens", "tokens_facts"),
    ),
    Claim(
        id="F20.text",
        text="Looking names up is most of what early MLPs do for the text at large.",
        source=SOURCE,
        rule="Control: with the mean everywhere the text costs 0.1 nats a token more (lower bound). Supports: lower "
        "bound of the loss recovered on the text, by a table of all names, above 0.5. Refutes: upper bound below 0.5.",
        control=lambda m: m["excess_own"].low > 0.1,
        supports=lambda m: m["names_own"].low > 0.5,
        refutes=lambda m: m["names_own"].high < 0.5,
        reads=("excess_own", "names_own"),
    ),
    Claim(
        id="F20.all",
        text="Nothing else is in them: names and single tokens looked up give back at least nine tenths.",
        source=SOURCE,
        rule="Control: as F20.text. Supports: lower bound of the loss recovered on the text, by tokens and names "
        "together, above 0.9. Refutes: upper bound below 0.9.",
        control=lambda m: m["excess_own"].low > 0.1,
        supports=lambda m: m["both_own"].low > 0.9,
        refutes=lambda m: m["both_own"].high < 0.9,
        reads=("excess_own", "both_own"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One seed's model."""

    config: Config
    seed: int
    folder: Path


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """A row for each seed (or part), text and table: nats a target.

    Raises ValueError without a workspace: a model is measured as the checkpoint that it was written to.
    """
    if config.model:
        return pl.DataFrame(given(config, seeds), schema=SCHEMA)
    if workspace is None:
        raise ValueError("a model is grown in a workspace: there is none")
    pieces = [Piece(config=config, seed=seed, folder=workspace) for seed in seeds]
    rows = rows_of(work, pieces, f"recovered, {len(seeds)} seeds")
    return pl.DataFrame(rows, schema=SCHEMA).sort("seed", maintain_order=True)


def work(piece: Piece) -> list[Row]:
    """One seed: its model is grown, and its early MLPs written out."""
    return kept(piece.folder, f"seed-{piece.seed}", lambda: _grown(piece))


def _grown(piece: Piece) -> list[Row]:
    from oneway.engine import Engine, open_model
    from oneway.training.teach import follow

    config, seed = piece.config, piece.seed
    world = small_world(config.small, seed)
    course = prepare_small(config.small, world, seed)
    engine = open_model(follow(course, piece.folder / f"model-{seed}").checkpoint, device="cpu")
    assert isinstance(engine, Engine)
    athletes = {fact.subject for fact in world if world.relations[fact.relation].one_shot}
    about, others = (
        world.with_facts(fact for fact in world if (fact.subject in athletes) == wanted)
        for wanted in (True, False)
    )
    known = known_sentences(engine, about)
    own = list(islice(own_text(course), config.batches * config.small.rows))
    texts = {
        FACTS: (known.texts, known.names),
        OTHERS: (sentences(engine, others)[0], known.names),
        OWN: (own, list(dict.fromkeys(fact.subject for fact in world))),
    }
    return [{"seed": seed, **row} for row in recovered(engine, config.share, texts, [seed])[0]]


def given(config: Config, seeds: Sequence[int]) -> list[Row]:
    """The model, facts and text that were given, in as many parts as there are seeds."""
    from oneway.anatomy.passages import passages
    from oneway.anatomy.written_out import Text
    from oneway.engine import Engine, open_model

    engine = open_model(config.model, device=config.device)
    if not isinstance(engine, Engine):
        raise ValueError(f"the MLPs of {config.model} cannot be written out: {'; '.join(engine.cannot)}")
    assert engine.tokenizer is not None
    table = resolve(config.facts, config.relations or None)
    known = known_sentences(engine, table)
    read, length = list[Text](), min(128, engine.context - 1)
    for batch in passages(Path(config.text), engine.tokenizer, length, 1):
        if len(read) * length >= config.tokens:
            break
        read.append(_behind_bos(engine.tokenizer, batch[0].numpy(), np.ones(batch.shape[1], dtype=bool)))
    texts = {FACTS: (known.texts, known.names), OWN: (read, known.names)}
    parts = recovered(engine, config.share, texts, seeds)
    return [{"seed": seed, **row} for seed, rows in zip(seeds, parts, strict=True) for row in rows]


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Sentences that a model completes rightly, and the names that they are about."""

    texts: list["Text"]
    names: list[str]


def known_sentences(engine: "Engine", table: FactTable) -> Known:
    """The table's sentences every token of whose answer is likelier than one half.

    Raises ValueError where there are none, or only about one name: a table of them could not be shuffled.
    """
    from oneway.anatomy.written_out import losses

    texts, names = sentences(engine, table)
    right = [bool((nats < np.log(2)).all()) for nats in losses(engine, texts)]
    found = [text for text, known in zip(texts, right, strict=True) if known]
    about = list(dict.fromkeys(name for name, known in zip(names, right, strict=True) if known))
    if len(about) < 2:
        raise ValueError(
            f"the model knows facts about {len(about)} of {len(set(names))} names: there is no table"
        )
    return Known(found, about)


def sentences(engine: "Engine", table: FactTable) -> tuple[list["Text"], list[str]]:
    """The sentences of a table with their answers as targets, and the name in each."""
    from oneway.training.lessons import encoded

    assert engine.tokenizer is not None
    told = list(training_sentences(table))
    texts = [
        _behind_bos(engine.tokenizer, *document) for document in encoded(told, engine.tokenizer, "answer")
    ]
    return texts, [table.facts[sentence.fact_index].subject for sentence in told]


def own_text(course: "Course") -> Iterator["Text"]:
    """Rows like those that the model was taught with last, with their targets; rows without a target are left out."""
    from oneway.anatomy.written_out import Text
    from oneway.training.sequences import Mixture

    assert isinstance(course.curriculum, Mixture)
    rng = np.random.default_rng((course.teaching.seed, 4))
    while True:
        rows = course.curriculum.write(rng, 100)
        yield from (Text(tokens, target) for tokens, target in zip(*rows, strict=True) if target.any())


def _behind_bos(tokenizer: "PreTrainedTokenizerBase", tokens: np.ndarray, target: np.ndarray) -> "Text":
    """A text behind the tokenizer's BOS, which it may have already; the first token is no target."""
    from oneway.anatomy.written_out import Text

    bos = tokenizer.bos_token_id
    if bos is not None and tokens[0] != bos:
        tokens, target = np.insert(tokens, 0, bos), np.insert(target, 0, False)
    target = target.copy()
    target[0] = False
    return Text(tokens, target)


def recovered(
    engine: "Engine", share: float, texts: Mapping[str, tuple[list["Text"], list[str]]], seeds: Sequence[int]
) -> list[list[Row]]:
    """Nats a target of every text with every table, in as many parts as there are seeds; the first seed shuffles.

    `texts` are given with the names that their tables hold. The means are over all the texts together.
    """
    from oneway.anatomy.written_out import empty_table, losses, token_entries

    layers = range(max(1, round(share * engine.layers)))
    everything = [text for own, _ in texts.values() for text in own]
    mean = empty_table(engine, layers, everything)
    tokens = token_entries(engine, layers, everything)
    parts: list[list[Row]] = [[] for _ in seeds]
    for what, (own, names) in texts.items():
        tables = {MODEL: None, MEAN: mean, **_tables(engine, mean, tokens, names, seeds[0])}
        for name, table in tables.items():
            nats = losses(engine, own, table)
            for number, rows in enumerate(parts):
                values = np.concatenate([one.numpy() for one in nats[number :: len(seeds)]])
                rows.append(
                    {"text": what, "table": name, "nats": float(values.mean()), "targets": values.size}
                )
    return parts


def _tables(
    engine: "Engine",
    mean: "WrittenOut",
    tokens: "Mapping[Key, Tensor]",
    names: Iterable[str],
    seed: int,
) -> dict[str, "WrittenOut"]:
    from oneway.anatomy.written_out import name_entries, shuffled

    assert engine.tokenizer is not None
    spellings = [form for name in names for form in (name, f" {name}")]
    ids = engine.tokenizer(spellings, add_special_tokens=False)["input_ids"]
    entries = name_entries(engine, mean.layers, dict.fromkeys(map(tuple, ids)))
    return {
        NAMES: mean.with_entries(entries),
        SHUFFLED: mean.with_entries(shuffled(entries, seed)),
        TOKENS: mean.with_entries(tokens),
        BOTH: mean.with_entries(tokens).with_entries(entries),
    }


def measure(curves: pl.DataFrame) -> Measured:
    """Loss recovered by every table on every text, and what the mean costs, over seeds (or parts)."""
    short = {FACTS: "facts", OTHERS: "others", OWN: "own"}
    tables = {NAMES: "names", SHUFFLED: "shuffled", TOKENS: "tokens", BOTH: "both"}
    found: dict[str, Estimate] = {}
    values: dict[str, np.ndarray] = {}
    for what, name in short.items():
        wide = curves.filter(text=what).pivot("table", index="seed", values="nats").sort("seed")
        if wide.is_empty():  # a text that is given has no others
            wide = pl.DataFrame({table: [np.nan] for table in (MODEL, MEAN, *tables)})
        loss = {table: wide[table].to_numpy() for table in (MODEL, MEAN, *tables)}
        excess = loss[MEAN] - loss[MODEL]
        found[f"loss_{name}"] = over_seeds(loss[MODEL], "nats")
        found[f"excess_{name}"] = over_seeds(excess, "nats")
        for table, as_named in tables.items():
            values[f"{as_named}_{name}"] = (loss[MEAN] - loss[table]) / excess
    values["names_over_tokens"] = values["names_facts"] - values["tokens_facts"]
    return found | {name: over_seeds(own, "share of the loss") for name, own in values.items()}


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """Loss recovered by text and table: the mean over seeds with its interval, and every seed."""
    from matplotlib.figure import Figure

    from oneway.report.palette import CYCLE

    texts = {
        "facts": "known facts",
        "others": "people not\nin the table",
        "own": "own text,\neverybody in the table",
    }
    texts = {name: label for name, label in texts.items() if measured[f"excess_{name}"].defined}
    tables = {
        "names": "names",
        "shuffled": "names shuffled",
        "tokens": "single tokens",
        "both": "tokens and names",
    }
    drawn = Figure(figsize=(9, 4.2), layout="constrained")
    axes = drawn.subplots()
    for number, (tone, (table, label)) in enumerate(zip(CYCLE, tables.items(), strict=False)):
        places = np.arange(len(texts)) + 0.2 * (number - 1.5)
        found = [measured[f"{table}_{name}"] for name in texts]
        means = [one.mean for one in found]
        errors = [[one.mean - one.low for one in found], [one.high - one.mean for one in found]]
        axes.bar(places, means, 0.18, color=tone.light, label=label)
        axes.errorbar(places, means, errors, fmt="none", ecolor="0.2", capsize=3)
    axes.axhline(0, color="0.4", linewidth=0.8)
    axes.axhline(1, color="0.4", linewidth=0.8, linestyle="--")
    axes.annotate(
        "the MLPs themselves", (1, 1), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8
    )
    axes.set_xticks(range(len(texts)), list(texts.values()))
    axes.set(ylabel="loss recovered")
    axes.set_title("Early MLPs replaced by a table", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return drawn


STUDY = Study(
    name="recovered",
    title="Are early MLPs a table of facts?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard, "paper": paper},
    check=check,
)
