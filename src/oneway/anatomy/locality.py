"""F18: how much of the residual stream on a token is decided by the last few tokens.

The residual stream on a token in its full context is compared with that in a context cut to the last k tokens, behind
a BOS where the tokenizer has one: cosine, after the layer's mean over tokens in full context is taken off both.

All cut contexts of a text are windows of it. In a window of `longest` tokens the j-th token has a context of j tokens,
since attention looks back only: one run of the windows that begin at every token holds all cuts of all tokens, the
BOS's keys and values computed once. `longest` tokens are run for each, instead of 1 + 2 + … + `longest` and as many
BOS.

Source: the Fact Finding sequence (Nanda et al. 2023), post 5.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from oneway.anatomy.passages import passages
from oneway.anatomy.spread import BINS, Spread
from oneway.anatomy.token_classes import CLASSES, GROUPS, token_classes
from oneway.engine import Opened, Site

HELD = 1 << 20  # numbers of residual streams in full context that are held at a time
ANOTHER, SHUFFLED = "another token", "shuffled"
QUANTILES = (0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuts:
    """Contexts are cut to the last 1, 2, … `longest` tokens, the token itself counted.

    A full context is what stands before the token in its passage of `passage` tokens (fewer where the model reads no
    more). The first `longest` tokens of a passage, of whose contexts nothing would be cut away, are not compared.
    `shuffled`: how many tokens a context has whose tokens but the last are drawn from elsewhere.
    """

    longest: int = 10
    passage: int = 128
    shuffled: int = 5

    def __post_init__(self) -> None:
        """Raises ValueError where no token could be compared."""
        if not 2 <= self.shuffled <= self.longest < self.passage:
            raise ValueError(
                f"cuts need 2 <= shuffled <= longest < passage, not {self.shuffled}, {self.longest}, {self.passage}"
            )

    @property
    def comparisons(self) -> tuple[str, ...]:
        """What a token in its full context is compared with, by name."""
        return (*map(str, range(1, self.longest + 1)), f"{SHUFFLED} {self.shuffled}", ANOTHER)


@dataclass(frozen=True, slots=True, eq=False)
class Similar:
    """Cosines of some passages' tokens; NaN where there is nothing to compare with.

    `cut`: by comparison, in the order of `Cuts.comparisons`. `whole`: of the first tokens of the passages, whose
    contexts a cut leaves as they are: 1, if the windows are right.
    """

    cut: Float[Tensor, "layer comparison passage token"]
    whole: Float[Tensor, "layer passage beginning"]


@dataclass(frozen=True, slots=True, eq=False)
class Locality:
    """Cosines of the tokens of a text, or of one part of it, by layer, comparison and token class.

    `tokens`: how many were compared. `whole`: the least cosine of a token whose context is not cut, which has to be 1.
    """

    cuts: Cuts
    spread: Spread
    tokens: int
    whole: float

    def to_frame(self) -> pl.DataFrame:
        """A row for each layer, context and class (or group of classes) with tokens: mean, median and quantiles."""
        frames = []
        for name, members in (*GROUPS.items(), *((name, (name,)) for name in CLASSES)):
            spread = self.spread.of([CLASSES.index(member) for member in members])
            values = {
                "tokens": spread.size,
                "mean": spread.mean(),
                "median": spread.quantile(0.5),
                "mean_square": spread.mean(2),
                "median_square": spread.median_square(),
                **{f"p{share * 100:g}": spread.quantile(share) for share in QUANTILES},
            }
            frames.append(self._keys(name).with_columns(pl.Series(k, v.ravel()) for k, v in values.items()))
        return pl.concat(frames).filter(pl.col("tokens") > 0)

    def histograms(self) -> pl.DataFrame:
        """How many cosines lie in each bin: one row for each layer, context, class and bin that is not empty.

        `from` is where the bin begins; all are 0.005 wide.
        """
        layer, context, kind, bin_ = np.nonzero(self.spread.counts)
        return pl.DataFrame(
            {
                "layer": layer,
                "context": np.array(self.cuts.comparisons)[context],
                "class": np.array(CLASSES)[kind],
                "from": bin_ * (2 / BINS) - 1,
                "tokens": self.spread.counts[layer, context, kind, bin_],
            }
        )

    def _keys(self, name: str) -> pl.DataFrame:
        layers = pl.DataFrame({"layer": range(len(self.spread.counts))})
        contexts = pl.DataFrame({"context": self.cuts.comparisons})
        return layers.join(contexts, how="cross").with_columns(pl.lit(name).alias("class"))


def measure_locality(
    opened: Opened, text: Path, cuts: Cuts | None = None, *, parts: int = 1, seed: int = 0
) -> list[Locality]:
    """F18 on a text file, which is read twice: for the layers' means, and to compare.

    `parts`: the passages are dealt to so many parts in turn, each measured by itself, so that intervals can be over
    them. `seed` draws what tokens are compared with by chance. Memory does not grow with the text.

    Raises ValueError for a text that is not UTF-8 or has too few tokens, a model without a tokenizer, and one that
    reads no more than `longest` tokens.
    """
    cuts = cuts or Cuts()
    if opened.tokenizer is None:
        raise ValueError("this model was opened without a tokenizer: a text cannot be read")
    length = min(cuts.passage, opened.context - len(_front(opened)))
    if length <= cuts.longest:
        raise ValueError(f"the model reads {opened.context} tokens: contexts of {cuts.longest} cannot be cut")
    centre = mean_streams(opened, _batches(opened, text, length, cuts))
    of_token = token_classes(opened.tokenizer, opened.vocab)
    empty = (opened.layers, len(cuts.comparisons), len(CLASSES))
    spreads = [Spread.empty(*empty) for _ in range(parts)]
    tokens, whole, number = [0] * parts, [np.inf] * parts, 0
    rng = np.random.default_rng(seed)
    for batch in _batches(opened, text, length, cuts):
        classes = of_token[batch[:, cuts.longest :].numpy()]
        found = similarities(opened, batch, centre, cuts, classes, rng)
        for row in range(len(batch)):
            part = number % parts
            spreads[part].add(found.cut[:, :, row], classes[row])
            whole[part] = min(whole[part], float(found.whole[:, row].min()))
            tokens[part] += classes.shape[1]
            number += 1
    if number < parts:
        raise ValueError(
            f"{text} has {number} passages of more than {cuts.longest} tokens, but {parts} are asked for"
        )
    return [Locality(cuts, *own) for own in zip(spreads, tokens, whole, strict=True)]


def _front(opened: Opened) -> list[int]:
    """The BOS that stands before every context, if the tokenizer has one."""
    assert opened.tokenizer is not None
    bos = opened.tokenizer.bos_token_id
    return [] if bos is None else [int(bos)]


def _batches(opened: Opened, text: Path, length: int, cuts: Cuts) -> Iterator[Int[Tensor, "passage pos"]]:
    """Passages of which something can be compared, as many at a time as can be held."""
    assert opened.tokenizer is not None
    width = opened.shape_of(Site("resid_post", 0), 1, length)[-1]
    at_once = max(1, HELD // (opened.layers * width * length))
    for batch in passages(text, opened.tokenizer, length, at_once):
        if batch.shape[1] > cuts.longest:
            yield batch


def _behind_front(opened: Opened, texts: Int[Tensor, "row pos"]) -> Int[Tensor, "row front_pos"]:
    return torch.cat((torch.tensor(_front(opened), dtype=texts.dtype).expand(len(texts), -1), texts), dim=1)


def full_streams(
    opened: Opened, passages: Int[Tensor, "passage pos"]
) -> Float[Tensor, "layer passage pos d_model"]:
    """The residual stream on every token in its full context, after every layer."""
    sites = [Site("resid_post", layer) for layer in range(opened.layers)]
    found = opened.run(_behind_front(opened, passages), sites)
    return torch.stack([found[site] for site in sites])[:, :, len(_front(opened)) :]


def mean_streams(
    opened: Opened, batches: Iterable[Int[Tensor, "passage pos"]]
) -> Float[Tensor, "layer d_model"]:
    """Each layer's mean over all tokens in full context. Raises ValueError where there are none."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for batch in batches:
        total = total + full_streams(opened, batch).sum((1, 2), dtype=torch.float64).cpu()
        count += batch.numel()
    if not count:
        raise ValueError("the text has too few tokens: there is no context to cut")
    return (total / count).float().to(opened.device)


def similarities(
    opened: Opened,
    passages: Int[Tensor, "passage pos"],
    centre: Float[Tensor, "layer d_model"],
    cuts: Cuts,
    classes: Int[np.ndarray, "passage token"],
    rng: np.random.Generator,
) -> Similar:
    """cos(full − centre, cut − centre) of the passages' tokens from the `longest`-th on, after every layer.

    Beside the cuts: with the stream in a context of other tokens (`shuffled`), and with that of another token of the
    same class in its full context, both drawn by `rng`. `classes` are those of the tokens that are compared.
    """
    count, length = passages.shape
    full = (full_streams(opened, passages) - centre[:, None, None]).flatten(1, 2)
    at = torch.arange(count * length).view(count, length)  # of every token in `full`
    windows = functional.pad(passages, (0, cuts.longest - 1)).unfold(1, cuts.longest, 1)
    partners = functional.pad(at, (0, cuts.longest - 1)).unfold(1, cuts.longest, 1)
    by_window = _cosines(
        opened, windows.flatten(0, 1), range(cuts.longest), full, partners.flatten(0, 1), centre
    )
    by_window = by_window.view(-1, count, length, cuts.longest)
    tokens = torch.arange(cuts.longest, length)
    cut = torch.stack([by_window[:, :, tokens - j, j] for j in range(cuts.longest)], dim=1)
    compared = at[:, cuts.longest :]
    drawn = torch.from_numpy(rng.integers(at.numel(), size=(compared.numel(), cuts.shuffled)))
    drawn[:, -1] = compared.flatten()
    texts = passages.flatten()[drawn]
    shuffled = _cosines(opened, texts, [cuts.shuffled - 1], full, compared.reshape(-1, 1), centre)[..., 0]
    others = torch.from_numpy(_others(classes.ravel(), rng))
    own = compared.flatten()
    another = functional.cosine_similarity(full[:, own], full[:, own[others]], dim=-1).cpu()
    another[:, others == torch.arange(len(others))] = torch.nan
    by_chance = torch.stack((shuffled, another), dim=1).unflatten(2, compared.shape)
    return Similar(torch.cat((cut, by_chance), dim=1), by_window[:, :, 0])


def _cosines(
    opened: Opened,
    texts: Int[Tensor, "row pos"],
    columns: Sequence[int],
    full: Float[Tensor, "layer token d_model"],
    partners: Int[Tensor, "row column"],
    centre: Float[Tensor, "layer d_model"],
) -> Float[Tensor, "layer row column"]:
    """Of the residual streams at these positions of the texts with those of their partners in full context."""
    front = len(_front(opened))
    sites = [
        [Site("resid_post", layer, position=front + column) for column in columns]
        for layer in range(opened.layers)
    ]
    found = torch.empty(len(sites), len(texts), len(columns))
    for rows, read in opened.stream(_behind_front(opened, texts), [site for own in sites for site in own]):
        index = partners[rows].to(full.device)
        for layer, own in enumerate(sites):
            streams = torch.stack([read[site] for site in own], dim=1) - centre[layer]
            found[layer, rows] = functional.cosine_similarity(streams, full[layer][index], dim=-1).cpu()
    return found


def _others(classes: Int[np.ndarray, " token"], rng: np.random.Generator) -> Int[np.ndarray, " token"]:
    """For every token another one of its class, drawn without replacement; itself where it is the only one."""
    others = np.arange(len(classes))
    for number in np.unique(classes):
        drawn = rng.permutation(np.flatnonzero(classes == number))
        others[drawn] = np.roll(drawn, 1)
    return others
