"""Early MLPs replaced by the table of facts that they are said to be: how much of the loss comes back?

The outputs of the MLPs of the first half of the layers are written out as a table. *Single tokens*: on every token they
are that token's mean outputs over the text. *Names*: on the last token of every name that is known they are what they
are where the name stands alone, behind a BOS. Loss recovered by names = (loss with single tokens − loss with tokens and
names) / (loss with single tokens − loss of the model): 0 for names that add nothing, 1 for the MLPs themselves. Names
are also tried shuffled, and *alone*, with the mean over the text on all other tokens, as the footnote has it.

Every seed grows a model and has to pass the gate of the study default-model, the sport on the end of the name after
these layers, to be measured: in others facts are not looked up by early MLPs. All are shown. *Facts* are sentences
about athletes that the model completes rightly (every token of the answer likelier than one half), and their athletes
are the names of the table; *own text* is what the model was taught with, and there the table holds everybody of the
world. Losses are on the answers, as in training. A small model that is taught sports alone is grown (see
`oneway.studies.small_model`), by `standard` the default model. With `--model`, `--facts` and `--text`
it is any checkpoint, the names of the facts that it knows, and all tokens of the text; each seed is then a part of the
sentences and of the text.

Source: Nanda, Rajamanoharan, Kramár, Shah 2023, Fact Finding, post 1, a footnote. Deviations: the table of single
tokens is ours, and so are the controls. Without it even a model whose facts are written into neurons recovers nothing,
since its MLPs do something on the question's words too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from oneway.evidence import Claim, Measured, over_seeds
from oneway.evidence.study import Study
from oneway.facts import FactTable, Trained, resolve, training_sentences
from oneway.studies.default_model import RELATION
from oneway.studies.pieces import Row, kept, rows_of
from oneway.studies.small_model import SPORTS_ALONE, WHOLE, Small, prepare_small, small_world

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from oneway.anatomy.written_out import Key, Text, WrittenOut
    from oneway.engine import Engine
    from oneway.training.teach import Course

SOURCE = "Fact Finding (Nanda et al. 2023), post 1, a footnote"
FACTS, OWN = "facts", "own text"
MODEL, MEAN, ALONE = "the model", "mean", "names alone"
TOKENS, BOTH, SHUFFLED = "tokens", "tokens and names", "tokens and names shuffled"
MOVES = "answers that move"  # a share, which the gate reads; the other values are nats a target
TABLES = (MODEL, MEAN, ALONE, TOKENS, BOTH, SHUFFLED)
SCHEMA = {"seed": pl.Int64, "text": pl.String, "table": pl.String, "value": pl.Float64, "targets": pl.Int64}


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
    small: Small = SPORTS_ALONE
    share: float = 0.5
    batches: int = 20
    tokens: int = 20_000
    seeds: tuple[int, ...] = tuple(range(10, 15))


def quick() -> Config:
    """Five seeds of a small model that is taught sports alone: about a minute on one core."""
    return Config()


def standard() -> Config:
    """Ten seeds of the default model, which passes the gate: some 25 minutes on one core."""
    return Config(small=WHOLE, seeds=tuple(range(30, 40)))


def paper() -> Config:
    """Pythia 2.8B, the shipped athletes, and a text that is given with `--text`. A GPU with 24 GiB."""
    return Config(model="EleutherAI/pythia-2.8b", facts="athletes", share=7 / 32, seeds=tuple(range(10)))


def check(config: Config) -> None:
    """Raises ValueError unless model, facts and text are all given, or none; and where the text is no file."""
    if len({bool(config.model), bool(config.facts), bool(config.text)}) > 1:
        raise ValueError("give --model, --facts and --text, or none of them: then a small model is grown")
    if config.text and not Path(config.text).is_file():
        raise ValueError(f"--text {config.text} is no file")


MOVED = 0.9  # the level of the default model's gate
CONTROL = (
    "Control: with single tokens facts cost 0.1 nats a token more (lower bound over the seeds, at least two, that pass "
    f"the gate: put on the end of the name from another athlete, after the replaced layers, a sport is answered in at "
    f"least {MOVED:g} of the cases). "
)


def _controlled(m: Measured) -> bool:
    return m["excess_facts"].low > 0.1


CLAIMS = (
    Claim(
        id="F20",
        text="A table of names gives back most of what single tokens leave of the early MLPs' work on known facts.",
        source=SOURCE,
        rule=CONTROL
        + "Supports: lower bound of the loss recovered by names on facts above 0.5. Refutes: upper bound below 0.5.",
        control=_controlled,
        supports=lambda m: m["names_facts"].low > 0.5,
        refutes=lambda m: m["names_facts"].high < 0.5,
        reads=("excess_facts", "names_facts"),
    ),
    Claim(
        id="F20.shuffled",
        text="It is the facts that the entries hold: shuffled among the names they give back nothing.",
        source="ours: a control",
        rule=CONTROL
        + "Supports: upper bound of the loss recovered by names shuffled, on facts, below 0.1. Refutes: lower bound "
        "above 0.1.",
        control=_controlled,
        supports=lambda m: m["shuffled_facts"].high < 0.1,
        refutes=lambda m: m["shuffled_facts"].low > 0.1,
        reads=("excess_facts", "shuffled_facts"),
    ),
    Claim(
        id="F20.text",
        text="On the text at large, too, names are most of what single tokens leave.",
        source=SOURCE,
        rule="Control: with single tokens the text costs 0.1 nats a token more (lower bound). "
        "Supports: lower bound of the loss recovered on the text, by a table of all names, above 0.5. "
        "Refutes: upper bound below 0.5.",
        control=lambda m: m["excess_own"].low > 0.1,
        supports=lambda m: m["names_own"].low > 0.5,
        refutes=lambda m: m["names_own"].high < 0.5,
        reads=("excess_own", "names_own"),
    ),
    Claim(
        id="F20.alone",
        text="Nothing but names is needed for known facts: on all other tokens the mean of the outputs will do.",
        source=SOURCE,
        rule="Control: with the mean everywhere facts cost 0.5 nats a token more (lower bound). Supports: lower bound "
        "of the loss recovered on facts above 0.5. Refutes: upper bound below 0.5.",
        control=lambda m: m["cost_of_mean_facts"].low > 0.5,
        supports=lambda m: m["alone_facts"].low > 0.5,
        refutes=lambda m: m["alone_facts"].high < 0.5,
        reads=("cost_of_mean_facts", "alone_facts"),
    ),
    Claim(
        id="F20.tokens",
        text="Single tokens do not do: known facts need whole names.",
        source="ours: a control",
        rule="Control: as F20.alone. Supports: upper bound of the loss recovered on facts by single tokens, of what "
        "the mean everywhere costs, below 0.9. Refutes: lower bound above 0.9.",
        control=lambda m: m["cost_of_mean_facts"].low > 0.5,
        supports=lambda m: m["tokens_facts"].high < 0.9,
        refutes=lambda m: m["tokens_facts"].low > 0.9,
        reads=("cost_of_mean_facts", "tokens_facts"),
    ),
    Claim(
        id="F20.all",
        text="Nothing else is in early MLPs: tokens and names looked up give back nine tenths on the text.",
        source=SOURCE,
        rule="Control: with the mean everywhere the text costs 0.5 nats a token more (lower bound). Supports: lower "
        "bound of the loss recovered on the text by tokens and names above 0.9. Refutes: upper bound below 0.9.",
        control=lambda m: m["cost_of_mean_own"].low > 0.5,
        supports=lambda m: m["both_own"].low > 0.9,
        refutes=lambda m: m["both_own"].high < 0.9,
        reads=("cost_of_mean_own", "both_own"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One seed's model."""

    config: Config
    seed: int
    folder: Path


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """A row for each seed (or part), text and table: the loss, in nats a target; and the share of answers that move.

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
    athletes = {fact.subject for fact in world.select(relation=RELATION)}
    known = known_sentences(engine, world.with_facts(fact for fact in world if fact.subject in athletes))
    own = list(islice(own_text(course), config.batches * config.small.rows))
    texts = {
        FACTS: (known.texts, known.names),
        OWN: (own, list(dict.fromkeys(fact.subject for fact in world))),
    }
    rows = recovered(engine, config.share, texts, [seed])[0]
    rows.append(_moved(looked_up_by(engine, early_layers(engine, config.share), world, RELATION, seed)))
    return [{"seed": seed, **row} for row in rows]


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
    table = table.with_facts(replace(fact, split=Trained.FORWARD_ONLY.value) for fact in table)
    known = known_sentences(engine, table)
    read, length = list[Text](), min(128, engine.context - 1)
    for batch in passages(Path(config.text), engine.tokenizer, length, 1):
        if len(read) * length >= config.tokens:
            break
        read.append(_behind_bos(engine.tokenizer, batch[0].numpy(), np.ones(batch.shape[1], dtype=bool)))
    texts = {FACTS: (known.texts, known.names), OWN: (read, known.names)}
    parts = recovered(engine, config.share, texts, seeds)
    layers, relation = early_layers(engine, config.share), next(iter(table)).relation
    moved = _moved(looked_up_by(engine, layers, table, relation, seeds[0]))
    return [{"seed": seed, **row} for seed, rows in zip(seeds, parts, strict=True) for row in (*rows, moved)]


def _moved(share: float) -> Row:
    """The gate as a row of the curves: the share of answers that move."""
    return {"text": FACTS, "table": MOVES, "value": share, "targets": 0}


def early_layers(engine: "Engine", share: float) -> range:
    """The layers whose MLPs are replaced, at least one."""
    return range(max(1, round(share * engine.layers)))


def looked_up_by(engine: "Engine", layers: range, table: FactTable, relation: str, seed: int) -> float:
    """The share of known answers that become another fact's with its residual stream on the end of the name, after the
    last of these layers. Raises TooFewFacts where too few facts are known to tell."""
    from oneway.anatomy.asked import TooFewFacts, ask, known
    from oneway.anatomy.probes import swapped
    from oneway.engine import Patch, Resample, Site

    assert engine.tokenizer is not None
    one_shot = 0 if table.relations[relation].one_shot else None
    asked = ask(engine.tokenizer, table, relation, one_shot=one_shot).groups[0]
    asked = asked.only(known(engine, asked)).with_others
    if len(asked) < 2:
        raise TooFewFacts(
            f"the model knows {len(asked)} facts of {relation}: too few to put one in another's place"
        )
    source = asked.others(seed=seed)
    patch = Patch(Site("resid_post", layers[-1], position=asked.final), Resample(source))
    return float(swapped(engine, asked, [patch], ["end of the name"], source)["end of the name"].follows.mean)


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
    told, texts = list(training_sentences(table)), []
    for tokens, target in encoded(told, engine.tokenizer, "answer"):
        target[target.nonzero()[0][-1]] = False  # the stop behind the answer
        texts.append(_behind_bos(engine.tokenizer, tokens, target))
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

    layers = early_layers(engine, share)
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
                    {"text": what, "table": name, "value": float(values.mean()), "targets": values.size}
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
    single = mean.with_entries(tokens)
    return {
        ALONE: mean.with_entries(entries),
        TOKENS: single,
        BOTH: single.with_entries(entries),
        SHUFFLED: single.with_entries(shuffled(entries, seed)),
    }


def measure(curves: pl.DataFrame) -> Measured:
    """Loss recovered by every table on both texts, and what single tokens and the mean cost, over the seeds (or parts)
    that pass the gate; and the share of answers that move, over all."""
    moves = curves.filter(table=MOVES).sort("seed")
    found = {"moved": over_seeds(moves["value"].to_numpy(), "share of answers")}
    curves = curves.filter(pl.col("seed").is_in(moves.filter(pl.col("value") >= MOVED)["seed"].to_list()))
    for what, name in ((FACTS, "facts"), (OWN, "own")):
        wide = curves.filter(text=what).pivot("table", index="seed", values="value").sort("seed")
        nothing = np.zeros(0)  # where no seed passes
        loss = {table: wide[table].to_numpy() if len(wide) else nothing for table in TABLES}
        by_tokens, by_mean = loss[TOKENS] - loss[MODEL], loss[MEAN] - loss[MODEL]
        shares = {
            "names": (loss[TOKENS] - loss[BOTH]) / by_tokens,
            "shuffled": (loss[TOKENS] - loss[SHUFFLED]) / by_tokens,
            "alone": (loss[MEAN] - loss[ALONE]) / by_mean,
            "tokens": (loss[MEAN] - loss[TOKENS]) / by_mean,
            "both": (loss[MEAN] - loss[BOTH]) / by_mean,
        }
        costs = {"loss": loss[MODEL], "excess": by_tokens, "cost_of_mean": by_mean}
        found |= {f"{key}_{name}": over_seeds(value, "nats") for key, value in costs.items()}
        found |= {f"{key}_{name}": over_seeds(value, "share of the loss") for key, value in shares.items()}
    return found


def by_seed(measured: Measured, curves: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """One row a seed: whether it passes the gate, and all its losses."""
    wide = curves.with_columns(pl.concat_str("text", "table", separator=", ")).pivot(
        "text", index="seed", values="value"
    )
    gate = pl.col(f"{FACTS}, {MOVES}") >= MOVED
    return {"seeds": wide.sort("seed").with_columns(gate.alias("passed"))}


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """Loss recovered, left of what the mean everywhere costs, right of what single tokens leave; means and 95%."""
    from matplotlib.figure import Figure

    from oneway.report.palette import CYCLE

    texts = {"facts": "known facts", "own": "the model's own text"}
    of_mean = {"alone": "names alone", "tokens": "single tokens", "both": "tokens and names"}
    of_rest = {"names": "names", "shuffled": "names shuffled"}
    drawn = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = drawn.subplots(1, 2, width_ratios=(3, 2))
    for axes, tables, title in (
        (left, of_mean, "Early MLPs replaced by a table"),
        (right, of_rest, "What names add to single tokens"),
    ):
        for number, (tone, (text, label)) in enumerate(zip(CYCLE, texts.items(), strict=False)):
            found = [measured[f"{table}_{text}"] for table in tables]
            places = np.arange(len(tables)) + 0.36 * (number - 0.5)
            means = [one.mean for one in found]
            axes.bar(places, means, 0.32, color=tone.light, label=label)
            errors = [[one.mean - one.low for one in found], [one.high - one.mean for one in found]]
            if all(one.defined for one in found):
                axes.errorbar(places, means, errors, fmt="none", ecolor="0.2", capsize=3)
        axes.axhline(0, color="0.4", linewidth=0.8)
        axes.axhline(1, color="0.4", linewidth=0.8, linestyle="--")
        axes.set_xticks(range(len(tables)), list(tables.values()))
        axes.set_title(title, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    left.set(ylabel="loss recovered (1: the MLPs themselves)")
    left.legend(frameon=False, fontsize=8)
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
    tables=by_seed,
)
