"""Which sparse features stand on the last token of a name, and what do sparse autoencoders miss?

A small decoder is taught athletes by the lessons of the default model: 200 who share 20 first names and 40 surnames,
with a sport of three drawn for each, in 4 layers. TopK autoencoders of SAELens learn its residual stream after every
layer, and the MLP's hidden layer, on text as it was taught on. A latent *stands for* a first name, a surname, a sport
or one entity where, on examples that it was not chosen on, its AUC is at least 0.9 and half of its activation is on
that value (see `anatomy/latents.py`); values that fewer people have are tried last. Beside them: the same dictionaries
untrained, and shuffled labels, for what random directions and chance give; latents taken off the name, against a random
direction of the same size; reconstructions spliced in, against random errors of the same size; and the linear map of
the relation as the other read-out. Last, the oracle: a compiled model whose directions are known (see
`planted_features.py`).

Source: the Fact Finding sequence (Nanda et al. 2023), post 1 and its comments; Hernandez et al. 2023, LRE; Gao et al.
2024, TopK. Deviations: a model of 0.2 million parameters that knows one attribute of each entity.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from oneway.evidence import Measured, over_seeds
from oneway.evidence.study import Study
from oneway.facts import FactTable, athletes
from oneway.studies.default_model import RELATION
from oneway.studies.feature_claims import CLAIMS
from oneway.studies.feature_config import KINDS, PLACES, Config, Dictionaries, World, quick, standard
from oneway.studies.pieces import Row, kept, rows_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from oneway.anatomy.sparse_autoencoder import SparseAutoencoder
    from oneway.engine import Engine, Site
    from oneway.studies.feature_reading import People

SCHEMA = {
    "seed": pl.Int64,
    "part": pl.String,
    "site": pl.String,
    "latents": pl.Float64,
    "dictionary": pl.String,
    "quantity": pl.String,
    "value": pl.Float64,
}
FORMS, SPLITS = 3, 3
EMBEDDING, TWICE = "-1", 2.0  # what stands for the layer in the curves; latents for each planted direction
KEPT = {
    "variance_text": "variance",
    "variance_names": "variance on names",
    "recovered": "recovered",
    "loss": "loss",
    "loss_spliced": "loss spliced",
    "right_mean": "right mean",
    "extra_loss": "extra loss",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One seed's models."""

    config: Config
    seed: int
    folder: Path


def check(config: Config) -> None:
    """Raises ValueError, with what to install, where there is no library for sparse autoencoders."""
    from oneway.anatomy.sparse_autoencoder import check_library

    check_library()


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """Grow and compile a model per seed and read both, side by side; a row per seed, dictionary and quantity.

    Raises ValueError without a workspace: a model is measured as the checkpoint that it was written to.
    """
    if workspace is None:
        raise ValueError("a model is grown in a workspace: there is none")
    pieces = [Piece(config=config, seed=seed, folder=workspace) for seed in seeds]
    rows = rows_of(work, pieces, f"features, {len(seeds)} seeds")
    return pl.DataFrame(rows, schema=SCHEMA).sort(list(SCHEMA)[:-1])


def work(piece: Piece) -> list[Row]:
    """One seed: the grown model and the compiled one."""
    from oneway.studies.planted_features import compiled_rows

    folder = piece.folder

    def make() -> list[Row]:
        compiled = compiled_rows(piece.config.planted, piece.seed, folder / f"compiled-{piece.seed}")
        return [*grown_rows(piece.config, piece.seed, folder / f"grown-{piece.seed}"), *compiled]

    return kept(folder, f"seed-{piece.seed}", make)


def table(world: World, seed: int) -> FactTable:
    """The athletes and their sports, nothing else."""
    names = {"first_names": world.first_names, "surnames": world.surnames}
    drawn = athletes(world.athletes, seed=seed, others=0, parents=0, **names)
    return drawn.with_facts(drawn.select(relation=RELATION))


def grow(config: Config, seed: int, folder: Path) -> tuple["Engine", "People", "Tensor"]:
    """The model of a seed, its people in four texts, and text as it was taught on, [row pos]."""
    import torch

    from oneway.anatomy.asked import ask
    from oneway.engine import Engine, open_model
    from oneway.studies.default_model import one_shot
    from oneway.studies.feature_reading import people
    from oneway.training.default_model import default_model
    from oneway.training.sequences import Mixture, Sequences
    from oneway.training.teach import labelled, teach

    world, taught = config.world, table(config.world, seed)
    lessons = Sequences(
        rows=world.rows,
        roll_steps=world.roll_steps,
        one_shot=0.25,
        prose=0.75,
        one_way=0.0,
        episodes=0.0,
        others=0.0,
    )
    recipe = default_model(seed)
    recipe = replace(
        recipe,
        size=replace(recipe.size, layers=world.layers, width=world.width),
        lessons=lessons,
        optimisation=replace(recipe.optimisation, steps=world.steps),
    )
    engine = open_model(teach(taught, folder, recipe).checkpoint, device="cpu")
    assert isinstance(engine, Engine)
    assert engine.tokenizer is not None
    asked = [one_shot(engine, taught)]
    for form in range(FORMS):
        asked += ask(engine.tokenizer, taught, RELATION, template=form).groups
    text = Mixture(labelled(taught), engine.tokenizer, replace(lessons, roll_steps=0), seed + 1000)
    tokens = torch.cat([text(batch).tokens[0] for batch in range(config.dictionaries.batches)])
    return engine, people(asked, seed), tokens


def grown_rows(config: Config, seed: int, folder: Path) -> list[Row]:
    """Every dictionary of the grown model, the probes by layer, and the linear relation."""
    from oneway.engine import Site
    from oneway.studies.default_model import moved, share_known

    engine, people, tokens = grow(config, seed, folder)
    assert engine.tokenizer is not None
    middle = engine.layers // 2 - 1
    rows: list[Row] = []

    def add(part: str, site: str, latents: float, dictionary: str, found: dict[str, float]) -> None:
        head = {"seed": seed, "part": part, "site": site, "latents": latents, "dictionary": dictionary}
        rows.extend(head | {"quantity": name, "value": float(value)} for name, value in found.items())

    asked, of = people.question, config.dictionaries
    by_layer = moved(engine, asked, seed)
    add("model", "", 0.0, "", {"recall": share_known(engine, asked), "moved": by_layer[middle]})
    stream = [Site("resid_pre", 0), *(Site("resid_post", layer) for layer in range(engine.layers))]
    hidden = Site("mlp_post", middle)
    text = engine.run(tokens, [*stream, hidden])
    read = tokens != engine.tokenizer.bos_token_id  # which also fills rows
    text = {site: values[read] for site, values in text.items()}
    for layer, site in enumerate(stream, start=-1):
        add("layers", str(layer), 0.0, "", _other_read_outs(engine, people, site, layer, seed))
        reader = Reader(engine, people, site, text[site], of, seed)
        widths = [of.latents, *(of.widths if layer == middle else ())]
        for width in widths:
            more = layer == middle and width == of.latents
            for name, found in reader.read(width, effects=more).items():
                part = "layers" if width == of.latents else "widths"
                add(part, str(layer), float(width), name, found)
    reader = Reader(engine, people, hidden, text[hidden], of, seed)
    for name, found in reader.read(of.latents, effects=True).items():
        add("mlp", str(middle), float(of.latents), name, found)
    return rows


def _other_read_outs(
    engine: "Engine", people: "People", site: "Site", layer: int, seed: int
) -> dict[str, float]:
    """A trained probe, and the relation as one affine map, on the same token; nothing reads the last layer's end."""
    from oneway.anatomy.linear_relation import judge_relation, linear_relation
    from oneway.anatomy.probes import chance, trained_probe

    asked = people.question
    at = replace(site, position=asked.final)
    stream = engine.run(asked.tokens, [at])[at]
    found = {
        "probe": trained_probe(stream, asked.right, splits=SPLITS, seed=seed).mean,
        "chance": chance(asked.right),
    }
    if 0 <= layer < engine.layers - 1:
        judged = judge_relation(engine, asked, linear_relation(engine, asked, layer, seed=seed), seed=seed)
        found |= {"faithful": judged.faithful.mean, "causal": judged.causal.follows.mean}
    return found


class Reader:
    """A site of the grown model and its dictionaries."""

    def __init__(
        self,
        engine: "Engine",
        people: "People",
        site: "Site",
        text: "Tensor",
        of: Dictionaries,
        seed: int,
    ) -> None:
        import torch

        self.engine, self.people, self.site, self.of, self.seed = engine, people, site, of, seed
        edge = len(text) * 9 // 10
        self.training, self.held_out = text[:edge], text[edge:]
        on_names = []
        for asked in people.texts:
            at = replace(site, position=asked.final)
            on_names.append(engine.run(asked.tokens, [at])[at])
        self.names = torch.stack(on_names)

    def read(self, latents: int, *, effects: bool) -> dict[str, dict[str, float]]:
        """What the trained dictionary is found to be, the untrained one, and the trained one by shuffled labels."""
        from oneway.anatomy.sparse_autoencoder import Sparsity, train_sparse_autoencoder
        from oneway.studies.feature_reading import moved_without, spliced_in, stood_for

        of = self.of
        sparsity = Sparsity(
            latents=latents,
            active=of.active,
            steps=of.steps,
            batch=of.batch,
            learning_rate=of.learning_rate,
        )
        found: dict[str, dict[str, float]] = {}
        for name, one in (("trained", sparsity), ("untrained", replace(sparsity, steps=0))):
            dictionary = train_sparse_autoencoder(self.training, one, seed=self.seed)
            on_names = dictionary.latents(self.names).numpy()
            found[name] = stood_for(on_names, self.people) | self._kept(dictionary)
            if name == "trained":
                shuffled = self.people.shuffled(np.random.default_rng((self.seed, 5)))
                found["shuffled"] = stood_for(on_names, shuffled)
                if effects:
                    at = replace(self.site, position=self.people.question.final)
                    arguments = (self.engine, at, self.people, dictionary, on_names)
                    found[name] |= moved_without(*arguments, most=of.ablated, seed=self.seed)
                found[name] |= spliced_in(self.engine, self.site, self.people.question, dictionary, self.seed)
        return found

    def _kept(self, dictionary: "SparseAutoencoder") -> dict[str, float]:
        fires = (dictionary.latents(self.held_out) > 0).any(0)
        return {
            "variance": dictionary.variance_explained(self.held_out),
            "variance on names": dictionary.variance_explained(self.names.flatten(0, 1)),
            "alive": float(fires.double().mean()),
        }


def measure(curves: pl.DataFrame) -> Measured:
    """What the claims read, over seeds; and by layer, width and place whatever the figure shows."""
    middle = _middle(curves)
    found: dict[str, np.ndarray] = {}

    def of(part: str, site: str, dictionary: str, quantity: str, latents: float | None = None) -> np.ndarray:
        """One value a seed; without `latents`, of all the widths there are the only one."""
        rows = curves.filter(part=part, site=site, dictionary=dictionary, quantity=quantity)
        rows = rows if latents is None else rows.filter(latents=latents)
        return rows.sort("seed")["value"].to_numpy()

    for name in ("recall", "moved"):
        found[name] = of("model", "", "", name)
    for name in ("probe", "faithful", "causal"):
        found[f"{name}_middle"] = of("layers", middle, "", name)
    found["chance"] = of("layers", middle, "", "chance")
    for kind in KINDS:
        name = kind.replace(" ", "_")
        for quantity in ("auc", "found"):
            for dictionary, end in (
                ("trained", "middle"),
                ("untrained", "untrained"),
                ("shuffled", "shuffled"),
            ):
                found[f"{name}_{quantity}_{end}"] = of("layers", middle, dictionary, f"{kind} {quantity}")
            found[f"{name}_{quantity}_mlp"] = of("mlp", middle, "trained", f"{kind} {quantity}")
        for part in ("own", "others", "random"):
            found[f"{name}_moved_{part}"] = of("layers", middle, "trained", f"{kind} moved {part}")
        found[f"{name}_moved_gain"] = found[f"{name}_moved_own"] - found[f"{name}_moved_random"]
    found["sport_auc_gain"] = found["sport_auc_middle"] - found["sport_auc_untrained"]
    found["surname_auc_embedding"] = of("layers", EMBEDDING, "trained", "surname auc")
    widest = float(curves.filter(part="widths")["latents"].to_numpy().max())
    found["entity_found_widest"] = of("widths", middle, "trained", "entity found", widest)
    layers = sorted(curves.filter(part="layers")["site"].unique(), key=int)
    auc = np.array([of("layers", layer, "trained", "sport auc") for layer in layers])
    names = [of("layers", la, "trained", f"{kind} found") for la in layers[1:] for kind in KINDS[1:3]]
    found["sport_auc_best"] = auc.max(0)
    found["names_found"] = np.array(names).reshape(len(layers) - 1, 2, -1).mean(1).max(0)
    found["sharpest"] = sharpest(auc)
    found["sharpest_probe"] = sharpest(np.array([of("layers", layer, "", "probe") for layer in layers]))
    for name, quantity in KEPT.items():
        found[name] = of("layers", middle, "trained", quantity)
    for place in PLACES:
        for dictionary, end in (("trained", ""), ("untrained", "_untrained")):
            for quantity in ("precision", "recall", "variance"):
                values = of("planted", place, dictionary, quantity, TWICE)
                found[f"planted_{place}_{quantity}{end}"] = values
    return {name: over_seeds(values, _unit(name)) for name, values in found.items()}


def sharpest(by_layer: np.ndarray) -> np.ndarray:
    """The largest rise from one layer to the next, over the whole rise from the first to the best.

    Takes [layer seed], gives [seed]: NaN where nothing rises.
    """
    whole = by_layer.max(0) - by_layer[0]
    steps: np.ndarray = np.diff(by_layer, axis=0).max(0)
    return np.divide(steps, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def by_seed(measured: Measured, curves: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """One row a seed: what its model knows and where, and every quantity of the dictionary of its middle layer."""
    middle = curves.filter(part="layers", site=_middle(curves), dictionary="trained")
    rows = pl.concat([curves.filter(part="model"), middle])
    return {"seeds": rows.pivot("quantity", index="seed", values="value").sort("seed")}


def _middle(curves: pl.DataFrame) -> str:
    layers = curves.filter(pl.col("part") == "mlp")["site"].unique().to_list()
    (middle,) = layers
    return str(middle)


def _unit(name: str) -> str:
    if "auc" in name:
        return "AUC"
    return "nats" if "loss" in name else "share"


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """What tells the sport by layer, what latents stand for by width, what moves without them, and the oracle."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(11, 7.6), layout="constrained")
    (layers, widths), (moves, planted) = drawn.subplots(2, 2)
    _draw_layers(layers, curves)
    _draw_widths(widths, curves)
    _draw_moved(moves, measured)
    _draw_planted(planted, curves)
    for axes in drawn.axes:
        axes.set_ylim(-0.03, 1.05)
        axes.spines[["top", "right"]].set_visible(False)
    return drawn


def _line(axes: "Axes", rows: pl.DataFrame, along: str, label: str, **style: Any) -> None:
    """Means over seeds with their 95% intervals."""
    points = sorted(rows[along].unique(), key=float)
    estimates = [over_seeds(rows.filter(pl.col(along) == at)["value"].to_numpy()) for at in points]
    at, mean = [float(point) for point in points], [one.mean for one in estimates]
    axes.plot(at, mean, label=label, marker="o", markersize=4, **style)
    if all(one.defined for one in estimates):
        low, high = ([getattr(one, end) for one in estimates] for end in ("low", "high"))
        axes.fill_between(at, low, high, color=style["color"], alpha=0.12, linewidth=0)


def _draw_layers(axes: "Axes", curves: pl.DataFrame) -> None:
    from oneway.report.palette import CYCLE

    rows = curves.filter(part="layers")
    shown = (
        ("trained probe, accuracy", "", "probe", CYCLE[0].light, "-"),
        ("linear relation, faithfulness", "", "faithful", CYCLE[2].light, "-"),
        ("best latent, AUC", "trained", "sport auc", CYCLE[1].light, "-"),
        ("… of an untrained dictionary", "untrained", "sport auc", CYCLE[1].light, "--"),
        ("… with shuffled labels", "shuffled", "sport auc", "0.5", ":"),
    )
    for label, dictionary, quantity, tone, line in shown:
        own = rows.filter(dictionary=dictionary, quantity=quantity)
        _line(axes, own, "site", label, color=tone, linestyle=line)
    last = max(int(site) for site in rows["site"])
    axes.set_xticks(range(-1, last + 1), ["emb.", *map(str, range(last + 1))])
    axes.set(xlabel="after layer")
    axes.set_title("What tells the sport on the end of the name", loc="left")
    axes.legend(fontsize=8, frameon=False)


def _draw_widths(axes: "Axes", curves: pl.DataFrame) -> None:
    from oneway.report.palette import CYCLE

    rows = curves.filter((pl.col("site") == _middle(curves)) & pl.col("part").is_in(["layers", "widths"]))
    for tone, kind in zip(CYCLE, KINDS, strict=False):
        for dictionary, line, label in (("trained", "-", kind), ("untrained", "--", "")):
            own = rows.filter(dictionary=dictionary, quantity=f"{kind} found")
            _line(axes, own, "latents", label, color=tone.light, linestyle=line)
    ticks = sorted(rows.filter(pl.col("latents") > 0)["latents"].unique())
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="latents, middle layer (dashed: untrained)")
    axes.set_title("Share of the values that a latent stands for", loc="left")
    axes.legend(fontsize=8, frameon=False)


def _draw_moved(axes: "Axes", measured: Measured) -> None:
    from oneway.report.palette import CYCLE

    parts = {"own": "facts with its value", "others": "other facts", "random": "random direction"}
    for offset, (tone, (part, label)) in enumerate(zip(CYCLE, parts.items(), strict=False)):
        found = [measured[f"{kind.replace(' ', '_')}_moved_{part}"] for kind in KINDS]
        at = np.arange(len(KINDS)) + 0.25 * (offset - 1)
        axes.bar(at, [one.mean for one in found], 0.22, color=tone.light, label=label)
        if all(one.defined for one in found):
            low, high = ([max(0.0, getattr(one, end)) for one in found] for end in ("low", "high"))
            axes.vlines(at, low, high, color="0.2", linewidth=1)
    axes.set_xticks(range(len(KINDS)), KINDS)
    axes.set(xlabel="what the latent is the best one of")
    axes.set_title("Answers that move without a latent's direction", loc="left")
    axes.legend(fontsize=8, frameon=False)


def _draw_planted(axes: "Axes", curves: pl.DataFrame) -> None:
    from oneway.report.palette import CYCLE

    rows = curves.filter(part="planted", dictionary="trained")
    names = {"mlp": "neurons of the MLP", "residual": "codes in the stream"}
    for tone, place in zip(CYCLE, PLACES, strict=False):
        for quantity, line in (("recall", "-"), ("precision", "--")):
            own = rows.filter(site=place, quantity=quantity)
            label = f"{names[place]}, {quantity}"
            _line(axes, own, "latents", label, color=tone.light, linestyle=line)
    ticks = sorted(rows["latents"].unique())
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="latents for each planted direction")
    axes.set_title("Planted directions of a compiled model", loc="left")
    axes.legend(fontsize=8, frameon=False)


STUDY = Study(
    name="features",
    title="Which sparse features stand on a name, and what do sparse autoencoders miss?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard},
    check=check,
    tables=by_seed,
)
