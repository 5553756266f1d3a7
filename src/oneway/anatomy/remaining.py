"""What is left of the facts under an intervention: what the model says, and what probes read on the way."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from oneway.anatomy.asked import Asked
from oneway.anatomy.extraction import Head
from oneway.anatomy.intervals import interval_table
from oneway.anatomy.probes import normed, read_directions
from oneway.engine import AllLogits, Engine, Readout, Residual
from oneway.engine.patch import Intervention
from oneway.engine.readout import Scores


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Said(Readout):
    """What is said at the end, as numbers: log p(right) in nats over the whole vocabulary, whether the right answer is
    the likeliest of the answers, and of all tokens, and the divergence KL(clean ‖ here) in nats.
    """

    right: Int[Tensor, " batch"]
    which: Int[Tensor, " batch"]
    answers: Int[Tensor, "batch answer"]
    clean: Float[Tensor, "batch vocab"]  # log-probabilities without interventions

    def __call__(self, scores: Scores) -> Float[Tensor, "run batch measure"]:
        logprobs = scores.logits().log_softmax(-1)
        runs = len(logprobs)
        right = logprobs.gather(-1, self.right.expand(runs, -1)[..., None])[..., 0]
        among = logprobs.gather(-1, self.answers.expand(runs, -1, -1)).argmax(-1) == self.which
        divergence = (self.clean.exp() * (self.clean - logprobs)).sum(-1)
        said = logprobs.argmax(-1) == self.right
        return torch.stack((right, among.to(right), said.to(right), divergence), dim=-1)


@dataclass(frozen=True, slots=True, eq=False)
class Left:
    """Under each intervention and of each fact: log p(right) (nats), 1 where the right answer is the likeliest of the
    answers, and of the vocabulary, KL from the clean model (nats), and 1 where the mechanistic and where the trained
    probe read the right answer. The trained probe is judged on facts that it was not trained on, NaN elsewhere.
    """

    logprob: Float[Tensor, "intervention fact"]
    among_answers: Float[Tensor, "intervention fact"]
    of_vocabulary: Float[Tensor, "intervention fact"]
    divergence: Float[Tensor, "intervention fact"]
    probe: Float[Tensor, "intervention fact"]
    trained: Float[Tensor, "intervention fact"]

    def table(self, names: Sequence[str]) -> pl.DataFrame:
        """One row an intervention and measure: the mean over facts with its interval."""
        frames = []
        for field in fields(self):
            values = getattr(self, field.name)
            judged = ~values.isnan().any(0)
            if judged.sum() > 1:
                found = interval_table(values[:, judged], ("intervention",))
                frames.append(found.with_columns(measure=pl.lit(field.name)))
        named = pl.concat(frames)
        return named.with_columns(pl.Series("intervention", [names[i] for i in named["intervention"]]))


class Reader:
    """Reads the answer off the residual stream where a head reads it: by that head's weights, and by a trained probe,
    which is fitted once, on a random half of the facts, in context and without interventions.
    """

    def __init__(self, engine: Engine, asked: Asked, head: Head, *, seed: int = 0) -> None:
        """Raises ValueError for a head of layer 0, which reads a name before anything was looked up."""
        if head[0] == 0:
            raise ValueError(f"head {head} is in layer 0: on the name's last token it reads an embedding")
        self.engine, self.asked, self.head = engine, asked, head
        self.directions = read_directions(engine, asked, head)
        resid = self._stream(asked.tokens, asked.final, [()])[0]
        self.centre = self._scores(resid).mean(0)
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(asked)))
        self.held_out: Bool[Tensor, " fact"] = torch.zeros(len(asked), dtype=torch.bool)
        self.held_out[order[len(order) // 2 :]] = True
        train = ~self.held_out
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1))
        self.fitted: Pipeline = probe.fit(
            resid[train.to(resid.device)].double().cpu().numpy(), asked.right[train].numpy()
        )

    def __call__(
        self, tokens: Int[Tensor, "fact pos"], position: int, interventions: Sequence[Intervention]
    ) -> tuple[Float[Tensor, "intervention fact"], Float[Tensor, "intervention fact"]]:
        """1 where each probe reads the right answer at a position of these prompts of the facts, else 0.

        First the mechanistic probe, then the trained one, which is NaN for facts that it was trained on.
        """
        resid, right = self._stream(tokens, position, interventions), self.asked.right
        probe = ((self._scores(resid) - self.centre).argmax(-1).cpu() == right).float()
        trained = torch.full_like(probe, torch.nan)
        for number, one in enumerate(resid[:, self.held_out.to(resid.device)]):
            told = torch.from_numpy(self.fitted.predict(one.double().cpu().numpy()))
            trained[number, self.held_out] = (told == right[self.held_out]).float()
        return probe, trained

    def _stream(
        self, tokens: Tensor, position: int, interventions: Sequence[Intervention]
    ) -> Float[Tensor, "intervention fact d_model"]:
        stream = Residual(after=self.head[0] - 1, position=position)
        return self.engine.effects(tokens, interventions, stream).patched

    def _scores(self, resid: Float[Tensor, "*run fact d_model"]) -> Float[Tensor, "*run fact answer"]:
        return normed(self.engine, self.head[0], resid) @ self.directions


class Remaining:
    """Measures what interventions leave of some facts: on the way, where a head reads them, and at the end."""

    def __init__(self, engine: Engine, asked: Asked, head: Head, *, seed: int = 0) -> None:
        """Raises ValueError as `Reader` does."""
        self.engine, self.asked = engine, asked
        self.reader = Reader(engine, asked, head, seed=seed)
        clean = engine.effects(asked.tokens, [], AllLogits()).clean.log_softmax(-1)
        answers, which = asked.answers.to(clean.device), asked.right.to(clean.device)
        self.said = Said(
            right=answers[which], which=which, answers=answers.expand(len(asked), -1), clean=clean
        )

    def __call__(self, interventions: Sequence[Intervention]) -> Left:
        """What each intervention leaves; no intervention is an empty tuple."""
        said = self.engine.effects(self.asked.tokens, interventions, self.said).patched.cpu()
        logprob, among, of_vocabulary, divergence = said.unbind(-1)
        probe, trained = self.reader(self.asked.tokens, self.asked.final, interventions)
        return Left(logprob, among, of_vocabulary, divergence, probe, trained)
