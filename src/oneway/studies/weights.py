"""What is written from token to token: a diagonal in the directions that were trained, none in the others.

For each entity as input with its relation token after it, the logits of every entity that could answer. In the row of
pair i, column i is the right partner. Two worlds: pairs (x→y, y←x) and chains (A→B, B→C, A⇝C).

The margin of a row is the logit of the right partner minus the mean of the others, in nats. A token that is never an
answer is pushed down in every row, right or wrong, so the margin of an untrained direction is far below 0 for a reason
that has nothing to do with its diagonal. Hence the margin among peers: the others are only those entities that are as
little trained as the right one.

Both worlds are learnt by models with a tied unembedding, as the source's text has it, and with an untied one, as its
published code has it.

Source: Zhu et al. 2024, section 5 and its figures of the weights (arXiv 2405.04669). Deviations: those of the study
`reversal`; the numbers, where the source shows pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from oneway.evidence import Claim, Measured, over_seeds
from oneway.evidence.study import Study
from oneway.facts.chains import LEADS_TO, STEP, Chains, chains
from oneway.facts.worlds import LEFT, RIGHT, Arrows, arrows
from oneway.studies.sentence_training import Decoder, Row, Schedule, Told, answers, grouped, trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from oneway.models.architecture import Architecture
    from oneway.models.transformer import Weights

SOURCE = "Zhu et al. 2024, section 5, figures of the weights (arXiv 2405.04669)"
Ends = Literal["tied", "untied"]
ENDS: tuple[Ends, ...] = ("tied", "untied")  # the unembedding: tied in the source's text, untied in its code
BLOCKS = {
    "pairs": ("both_ways", "seen", "unseen"),
    "chains": ("first_step", "second_step", "conclusion_seen", "conclusion_unseen"),
}
SNAPSHOTS = 4  # heatmaps through training, the first at the start and the last at the end
SCHEMA = {"seed": pl.Int64, "epoch": pl.Int64, "ends": pl.String, "block": pl.String, "quantity": pl.String}
SCHEMA |= {"row": pl.Int64, "column": pl.Int64, "value": pl.Float64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`vocabulary` counts the tokens besides the relations; a heatmap shows the first `shown` rows of a block."""

    vocabulary: int = 200
    shown: int = 15
    decoder: Decoder = field(default_factory=Decoder)
    schedule: Schedule = field(default_factory=lambda: Schedule(epochs=220, learning_rate=0.01))
    seeds: tuple[int, ...] = tuple(
        range(10, 20)
    )  # with 150 epochs the seeds 0–9 had not all learnt the control
    device: str = "cpu"


def quick() -> Config:
    """Fifty entities of each kind in a model as small as it can be: seconds."""
    return Config()


def standard() -> Config:
    """The published vocabulary, in two layers of width 128."""
    return Config(
        vocabulary=800,
        decoder=Decoder(layers=2, width=128),
        schedule=Schedule(epochs=200, learning_rate=0.002, seeds_at_once=5),
    )


def paper() -> Config:
    """The published default: 24 layers of width 768, 3,000 epochs; a GPU."""
    return Config(
        vocabulary=800,
        decoder=Decoder(layers=24, width=768, heads=12),
        schedule=Schedule(epochs=3000, learning_rate=0.01, seeds_at_once=1, evaluations=60),
    )


STRONG = 5.0  # nats: the right partner is e⁵ ≈ 150 times as likely as an average other one
NONE = 0.5  # nats


def _claim(id: str, text: str, known: str, seen: str, unseen: str, ends: str) -> Claim:
    """The same rule for pairs and for chains, with a tied and with an untied unembedding."""
    known, seen, unseen = (f"{ends}_{block}" for block in (known, seen, unseen))
    margin, among, control = f"{seen}_margin", f"{unseen}_margin_among_peers", f"{known}_first"
    return Claim(
        id=id,
        text=f"{text} ({ends} unembedding).",
        source=SOURCE,
        rule=f"Control: lower bound of the share of rows of {known} whose right partner is ranked first above 0.95. "
        f"Supports: lower bound of the margin of {seen} above {STRONG:g} nats, and upper bound of the margin among "
        f"peers of {unseen} below {NONE:g} nats. Refutes: lower bound of that margin above {NONE:g} nats.",
        control=lambda m: m[control].low > 0.95,
        supports=lambda m: m[margin].low > STRONG and m[among].high < NONE,
        refutes=lambda m: m[among].low > NONE,
        reads=(control, margin, f"{unseen}_margin", among, f"{unseen}_first"),
    )


_PAIRS = (
    "From token to token there is a strong diagonal in the direction that was trained, and none in the other"
)
_CHAINS = (
    "From A to B and from B to C there is a strong diagonal, and from A to the C that follows there is none"
)
_OF_PAIRS = ("both_ways", "seen", "unseen")
_OF_CHAINS = ("conclusion_seen", "second_step", "conclusion_unseen")


CLAIMS = (
    _claim("Z4", _PAIRS, *_OF_PAIRS, "tied"),
    _claim("Z4.chain", _CHAINS, *_OF_CHAINS, "tied"),
    _claim("Z4.untied", _PAIRS, *_OF_PAIRS, "untied"),
    _claim("Z4.untied-chain", _CHAINS, *_OF_CHAINS, "untied"),
    Claim(
        id="Z4.steps",
        text="Both steps of the chains whose conclusion is held out have a strong diagonal (tied unembedding).",
        source=SOURCE,
        rule=f"Control: as Z4.chain. Supports: lower bounds of the margins of first_step and of second_step above "
        f"{STRONG:g} nats. Refutes: the upper bound of either is below {STRONG:g} nats.",
        control=lambda m: m["tied_conclusion_seen_first"].low > 0.95,
        supports=lambda m: min(m["tied_first_step_margin"].low, m["tied_second_step_margin"].low) > STRONG,
        refutes=lambda m: min(m["tied_first_step_margin"].high, m["tied_second_step_margin"].high) < STRONG,
        reads=("tied_conclusion_seen_first", "tied_first_step_margin", "tied_second_step_margin"),
    ),
)


@dataclass(frozen=True)
class Block:
    """Questions of two tokens, the entities that could answer each, which of them is right, and its peers.

    Peers are the columns that are answers as often as the right one in the direction asked: among them nothing but the
    diagonal tells the right one.
    """

    questions: Int[np.ndarray, "row 2"]
    columns: Int[np.ndarray, "row column"]
    right: Int[np.ndarray, " row"]
    peers: Bool[np.ndarray, "row column"]


def blocks_of_pairs(world: Arrows) -> dict[str, Block]:
    """Pairs trained both ways, and of the others the trained and the held-out direction.

    Raises ValueError for a world of longer entities.
    """
    if world.length != 1:
        raise ValueError("entities must be one token")
    one_way = world.validation_pair
    pairs = np.arange(len(world.x))
    seen_forward = world.validation[:, 1] == LEFT
    both = np.setdiff1d(pairs, one_way)

    def block(rows: np.ndarray, forward: np.ndarray, peers: np.ndarray) -> Block:
        asked = np.where(forward, world.x[rows, 0], world.y[rows, 0])
        arrow = np.where(forward, RIGHT, LEFT)
        columns = np.where(forward[:, None], world.y[None, :, 0], world.x[None, :, 0])
        return Block(np.stack([asked, arrow], 1), columns, rows, peers)

    alike = np.zeros((len(one_way), len(pairs)), dtype=bool)
    alike[:, one_way] = seen_forward[:, None] == seen_forward[None, :]
    return {
        "both_ways": block(
            np.concatenate([both, both]),
            np.repeat([True, False], len(both)),
            np.broadcast_to(np.isin(pairs, both), (2 * len(both), len(pairs))),
        ),
        "seen": block(one_way, seen_forward, alike),
        "unseen": block(one_way, ~seen_forward, alike),
    }


def blocks_of_chains(world: Chains) -> dict[str, Block]:
    """The two steps of the triples whose conclusion is held out, and the conclusions, trained and held out."""
    every = np.arange(len(world.triples))
    held_out = every >= world.whole

    def block(chosen: np.ndarray, start: int, relation: int, end: int) -> Block:
        rows = every[chosen]
        questions = np.stack([world.triples[rows, start], np.full(len(rows), relation)], 1)
        columns = np.broadcast_to(world.triples[:, end], (len(rows), len(every)))
        return Block(questions, columns, rows, np.broadcast_to(chosen, columns.shape))

    return {
        "first_step": block(held_out, 0, STEP, 1),
        "second_step": block(held_out, 1, STEP, 2),
        "conclusion_seen": block(~held_out, 0, LEADS_TO, 2),
        "conclusion_unseen": block(held_out, 0, LEADS_TO, 2),
    }


def margins(logits: Float[np.ndarray, "row column"], block: Block) -> dict[str, float]:
    """Mean over rows: margin over all others, margin among peers (rows that have any), share ranked first."""
    rows = np.arange(len(logits))
    right = logits[rows, block.right]
    others = (logits.sum(1) - right) / (logits.shape[1] - 1)
    peers = block.peers.copy()
    peers[rows, block.right] = False
    count = peers.sum(1)
    among = (logits * peers).sum(1)[count > 0] / count[count > 0]
    return {
        "margin": float((right - others).mean()),
        "margin_among_peers": float((right[count > 0] - among).mean()),
        "first": float((logits.argmax(1) == block.right).mean()),
    }


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    """Train every seed in both worlds; rows of numbers per seed, epoch and block, and the first seed's logits."""
    from oneway.report.progress import progress

    groups = [
        (e, w, group) for e in ENDS for w in BLOCKS for group in grouped(seeds, config.schedule.seeds_at_once)
    ]
    rows: list[Row] = []
    with progress(f"logits from token to token, {len(seeds)} seeds") as advance:
        for number, (ends, world, group) in enumerate(groups):

            def told(done: int, total: int, before: int = number) -> None:
                advance(before * total + done, len(groups) * total)

            folder = None if workspace is None else workspace / f"{ends}-{world}-{group[0]}-{group[-1]}"
            of_ends = replace(config, decoder=replace(config.decoder, unembedding=ends))
            of_group = _trained(of_ends, world, group, seeds[0], folder, told)
            rows += [row | {"ends": ends} for row in of_group]
    return pl.DataFrame(rows, schema=SCHEMA)


def _trained(
    config: Config, world: str, seeds: Sequence[int], pictured: int, workspace: Path | None, told: Any
) -> list[Row]:
    worlds: Sequence[Any]
    if world == "pairs":
        worlds = [arrows(config.vocabulary, seed=seed) for seed in seeds]
        blocks = [blocks_of_pairs(w) for w in worlds]
    else:
        worlds = [chains(config.vocabulary, seed=seed) for seed in seeds]
        blocks = [blocks_of_chains(w) for w in worlds]
    photographed = snapshots(config.schedule)

    def evaluate(weights: "Weights", a: "Architecture", epoch: int) -> list[Row]:
        rows: list[Row] = []
        for name in BLOCKS[world]:
            found = logits_of([b[name] for b in blocks], weights, a)
            for seed, block, logits in zip(seeds, (b[name] for b in blocks), found, strict=True):
                rows += [
                    _row(seed, epoch, name, quantity, v) for quantity, v in margins(logits, block).items()
                ]
                if seed == pictured and epoch in photographed:
                    rows += _pixels(seed, epoch, name, _square(logits, block, config.shown))
        return rows

    sentences = Told(np.stack([w.train for w in worlds]), 1, worlds[0].vocabulary_size)
    return trained(
        sentences,
        seeds,
        config.decoder,
        config.schedule,
        evaluate,
        workspace=workspace,
        device=config.device,
        progress=told,
    )


def snapshots(schedule: Schedule) -> tuple[int, ...]:
    """The evaluated epochs whose heatmaps are drawn: early ones, where it happens, and the last."""
    every = max(1, schedule.epochs // schedule.evaluations)
    wanted = [schedule.epochs * share for share in (0.15, 0.4)]
    return tuple(sorted({0, schedule.epochs, *(every * max(1, round(w / every)) for w in wanted)}))


def logits_of(
    blocks: Sequence[Block], weights: "Weights", a: "Architecture"
) -> Float[np.ndarray, "seed row column"]:
    """The logits of each row's columns after its question, for every seed; logits are up to a constant per row."""
    import torch

    # `answers` wants a token to follow; which one does not matter to what all tokens get.
    device = weights["W_E"].device
    questions = torch.from_numpy(np.stack([b.questions for b in blocks])).to(device)
    columns = torch.from_numpy(np.stack([b.columns for b in blocks])).to(device)
    _, logprobs = answers(weights, a, torch.cat((questions, questions[:, :, :1]), 2), 1)
    found: np.ndarray = logprobs[:, :, 0].gather(-1, columns).double().cpu().numpy()
    return found


def _square(logits: np.ndarray, block: Block, shown: int) -> np.ndarray:
    """The first rows, and the columns of their right partners in the same order, each row less its mean."""
    part = logits[:shown][:, block.right[:shown]]
    centred: np.ndarray = part - logits[:shown].mean(1, keepdims=True)
    return centred


def _row(seed: int, epoch: int, block: str, quantity: str, value: float) -> Row:
    return {
        "seed": seed, "epoch": epoch, "block": block, "quantity": quantity, "row": None, "column": None,
        "value": value,
    }  # fmt: skip


def _pixels(seed: int, epoch: int, block: str, square: np.ndarray) -> list[Row]:
    return [
        _row(seed, epoch, block, "logit", float(value)) | {"row": i, "column": j}
        for (i, j), value in np.ndenumerate(square)
    ]


def measure(curves: pl.DataFrame) -> Measured:
    """Margins and shares ranked first of every block at the last epoch, over seeds."""
    final = curves.filter((pl.col("quantity") != "logit") & (pl.col("epoch") == pl.col("epoch").max()))
    measured = {}
    for (ends, block, quantity), rows in final.group_by("ends", "block", "quantity", maintain_order=True):
        unit = "probability" if quantity == "first" else "nats"
        measured[f"{ends}_{block}_{quantity}"] = over_seeds(rows.sort("seed")["value"].to_numpy(), unit)
    return measured


_TITLES = {
    "both_ways": "trained both ways",
    "seen": "trained direction",
    "unseen": "held-out direction",
    "first_step": "A → B",
    "second_step": "B → C",
    "conclusion_seen": "A ⇝ C, trained",
    "conclusion_unseen": "A ⇝ C, held out",
}


def figure(measured: Measured, curves: pl.DataFrame) -> "Figure":
    """The first seed's heatmaps through training, a row per block, and the margin among peers of all seeds.

    Heatmaps and solid lines are of the tied unembedding, dotted lines of the untied one.
    """
    from matplotlib.figure import Figure

    from oneway.report.palette import DIRECTIONS

    pixels = curves.filter((pl.col("quantity") == "logit") & (pl.col("ends") == "tied"))
    epochs = sorted(pixels["epoch"].unique())
    blocks = [block for world in BLOCKS.values() for block in world]
    drawn = Figure(figsize=(2.05 * (len(epochs) + 1.6), 2.05 * len(blocks)), layout="constrained")
    grid = drawn.subplots(
        len(blocks), len(epochs) + 1, squeeze=False, width_ratios=[1.0] * len(epochs) + [1.5]
    )
    bound = float(np.quantile(np.abs(pixels["value"].to_numpy()), 0.99)) or 1.0
    margins_drawn = curves.filter(pl.col("quantity") == "margin_among_peers")["value"]
    top = 1.05 * max(1.0, float(np.max(margins_drawn.to_numpy())))
    for across, block in zip(grid, blocks, strict=True):
        for axes, epoch in zip(across, epochs, strict=False):
            cells = pixels.filter((pl.col("block") == block) & (pl.col("epoch") == epoch))
            square = cells.pivot("column", index="row", values="value").sort("row").drop("row").to_numpy()
            image = axes.imshow(square, cmap="RdBu_r", vmin=-bound, vmax=bound)
            axes.set(xticks=[], yticks=[])
            if block == blocks[0]:
                axes.set_title(f"epoch {epoch}", fontsize=10)
        across[0].set_ylabel(_TITLES[block])
        tone = DIRECTIONS["reverse" if block.endswith("unseen") else "forward"].light
        lines = curves.filter((pl.col("block") == block) & (pl.col("quantity") == "margin_among_peers"))
        for ends, style in zip(ENDS, ("-", ":"), strict=True):
            of_ends = lines.filter(pl.col("ends") == ends)
            wide = of_ends.pivot("seed", index="epoch", values="value").sort("epoch")
            at, values = wide["epoch"].to_numpy(), wide.drop("epoch").to_numpy()
            across[-1].plot(at, values, color=tone, alpha=0.2, linewidth=0.6, linestyle=style)
            across[-1].plot(at, values.mean(1), color=tone, linewidth=2, linestyle=style, label=ends)
        across[-1].axhline(0, color="0.35", linestyle="--", linewidth=1)
        across[-1].spines[["top", "right"]].set_visible(False)
        across[-1].set_ylim(-2, top)
    grid[0][-1].set_title("margin among peers, nats", fontsize=10)
    grid[-1][-1].set_xlabel("epoch")
    grid[0][-1].legend(frameon=False, fontsize=8)
    drawn.colorbar(
        image, ax=grid[:, 0].tolist(), location="left", shrink=0.3, label="logit less its row's mean, nats"
    )
    return drawn


STUDY = Study(
    name="weights",
    title="What is written from token to token in the trained direction, and what in the other?",
    claims=CLAIMS,
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": quick, "standard": standard, "paper": paper},
)
