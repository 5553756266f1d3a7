"""What models of the world `identities` say: exact match, and the right answer against the others of its group."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from oneway.facts import Direction, FactTable, questions
from oneway.facts.fictitious import GROUPS, Identities
from oneway.facts.splits import training_directions

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

    from oneway.models.architecture import Architecture
    from oneway.models.transformer import Weights

OTHERS = 4  # wrong answers that each right one is compared with
TEXTS_AT_ONCE = 500  # per seed: what is scored in one pass
BOTH_DIRECTIONS = (Direction.FORWARD, Direction.REVERSE)


class Compared(NamedTuple):
    """The right answers of a group against the others: mean difference in nats, and p-values of two tests."""

    difference: float
    t_test_p: float
    ks_test_p: float


def drawn_others(count: int, draws: int, rng: np.random.Generator) -> Int[np.ndarray, "draw answer"]:
    """For each of `count` answers `draws` different others, so that a draw holds every answer once.

    Raises ValueError where there are not that many others.
    """
    if not 1 <= draws < count:
        raise ValueError(f"{count} answers have 1 to {count - 1} others each, not {draws}")
    order = rng.permutation(count)
    drawn = np.empty((draws, count), dtype=np.int64)
    for shift in range(draws):
        drawn[shift, order] = np.roll(order, shift + 1)  # along a circle: nobody is drawn against himself
    return drawn


def compared(right: Float[np.ndarray, " fact"], others: Float[np.ndarray, "draw fact"]) -> Compared:
    """Do log-probabilities tell the right answers from others of the set? `others` are as `drawn_others` drew.

    The difference is mean(right) − mean(others): every answer stands equally often on both sides, so that what
    is likely whatever is asked cancels. The tests are the paired t-test and the two-sample Kolmogorov–Smirnov
    test of the right answers against the first draw.

    Source: Berglund et al. 2023, section 2.1.2, who draw a random name for each prompt.
    """
    from scipy import stats

    return Compared(
        float(right.mean() - others.mean()),
        float(stats.ttest_rel(right, others[0]).pvalue),
        float(stats.ks_2samp(right, others[0]).pvalue),
    )


class Exam:
    """Questions to stacked models, one world per seed, group by group and direction by direction."""

    def __init__(
        self,
        worlds: Sequence[Identities],
        tokenizer: "PreTrainedTokenizerFast",
        seeds: Sequence[int],
        device: str = "cpu",
    ):
        self.worlds, self.tokenizer, self.seeds, self.device = worlds, tokenizer, tuple(seeds), device
        self._tested = {
            (group, direction): self._asked([world.test for world in worlds], group, direction)
            for group in GROUPS
            for direction in BOTH_DIRECTIONS
        }

    def held_out(self, weights: "Weights", a: "Architecture") -> list[dict[str, Any]]:
        """Exact match, also less that of guessing in the group, and log-probability under the held-out phrasings."""
        rows = []
        for (group, direction), asked in self._tested.items():
            logprob, exact = score(weights, a, *asked)
            share = exact.double().mean(1)
            chance = 1 / len(self.worlds[0].test.select(split=group))
            rows += self._rows(group, direction, "exact_match", share.tolist())
            rows += self._rows(group, direction, "exact_match_over_chance", (share - chance).tolist())
            rows += self._rows(group, direction, "logprob", logprob.mean(1).tolist())
        return rows

    def trained(self, weights: "Weights", a: "Architecture") -> list[dict[str, Any]]:
        """Exact match under the phrasings that were trained, in the directions that were."""
        rows = []
        for group in GROUPS:
            for direction in training_directions(self.worlds[0].train.select(split=group.value).facts[0]):
                asked = self._asked([world.train for world in self.worlds], group, direction)
                _, exact = score(weights, a, *asked)
                rows += self._rows(group, direction, "trained_exact_match", exact.float().mean(1).tolist())
        return rows

    def against_others(self, weights: "Weights", a: "Architecture") -> list[dict[str, Any]]:
        """`compared` for every seed, group and direction; a fact's phrasings are averaged first."""
        rows = []
        for group in GROUPS:
            for direction in BOTH_DIRECTIONS:
                logprobs = self.logprobs(weights, a, group, direction)
                found = [compared(of_seed[0], of_seed[1:]) for of_seed in logprobs]
                for quantity in Compared._fields:
                    rows += self._rows(group, direction, quantity, [getattr(one, quantity) for one in found])
        return rows

    def logprobs(
        self, weights: "Weights", a: "Architecture", group: str, direction: Direction
    ) -> Float[np.ndarray, "seed answer fact"]:
        """ln p of each fact's right answer (the first row) and of its drawn others, mean over phrasings."""
        import torch

        tables = [world.test for world in self.worlds]
        facts = len(tables[0].select(split=group))
        draws = min(OTHERS, facts - 1)
        drawn = [drawn_others(facts, draws, np.random.default_rng((seed, 0))) for seed in self.seeds]
        answered = []
        for places in (None, *range(draws)):
            chosen = None if places is None else [others[places] for others in drawn]
            logprob, _ = score(weights, a, *self._asked(tables, group, direction, chosen))
            answered.append(logprob.view(len(self.seeds), facts, -1).mean(2))
        return np.asarray(torch.stack(answered, 1).double().cpu().numpy())

    def _asked(
        self,
        tables: Sequence[FactTable],
        group: str,
        direction: Direction,
        answered: Sequence[np.ndarray] | None = None,
    ) -> tuple["Tensor", "Tensor"]:
        """Texts [seed text pos] up to the answer's end, and the answers' places in them [seed text token].

        Texts are fact by fact, phrasing by phrasing. `answered[seed][fact]` is the fact of the group whose answer
        stands there instead of the right one.
        """
        import torch

        asked_for = "object" if direction is Direction.FORWARD else "subject"
        stacked = []
        for seed, table in enumerate(tables):
            chosen = table.select(split=group)
            asked = list(questions(chosen, (direction,)))
            answers = [question.answer for question in asked]
            if answered is not None:
                other = [chosen.facts[int(answered[seed][q.fact_index])] for q in asked]
                answers = [
                    q.answer_with(getattr(fact, asked_for)) for q, fact in zip(asked, other, strict=True)
                ]
            prompts = self.tokenizer([question.prompt for question in asked])["input_ids"]
            stacked.append((prompts, self.tokenizer(answers, add_special_tokens=False)["input_ids"]))
        longest = max(len(p) + len(a) for pair in stacked for p, a in zip(*pair, strict=True))
        tokens = np.zeros((len(stacked), len(stacked[0][0]), longest), np.int64)
        places = np.zeros((*tokens.shape[:2], len(stacked[0][1][0])), np.int64)
        for seed, pair in enumerate(stacked):
            for row, (prompt, answer) in enumerate(zip(*pair, strict=True)):
                end = len(prompt) + len(answer)
                tokens[seed, row, :end] = prompt + answer
                places[seed, row] = range(len(prompt), end)
        return torch.from_numpy(tokens).to(self.device), torch.from_numpy(places).to(self.device)

    def _rows(
        self, group: str, direction: Direction, quantity: str, values: Sequence[float]
    ) -> list[dict[str, Any]]:
        named = {"group": str(group), "direction": direction.value, "quantity": quantity}
        return [
            {"seed": seed, **named, "value": value} for seed, value in zip(self.seeds, values, strict=True)
        ]


def score(
    weights: "Weights", a: "Architecture", tokens: "Tensor", places: "Tensor"
) -> tuple["Tensor", "Tensor"]:
    """ln p of every answer [seed text] in nats, and whether greedy decoding says all of it [seed text].

    `tokens` are [seed text pos], `places` [seed text token] the positions of the answers' tokens in them.
    """
    import torch

    from oneway.models.transformer import residual, unembed

    logprobs, exacts = [], []
    for at in range(0, tokens.shape[1], TEXTS_AT_ONCE):
        part, where = tokens[:, at : at + TEXTS_AT_ONCE], places[:, at : at + TEXTS_AT_ONCE]
        resid = residual(weights, part[:, :, :-1], a)
        index = (where - 1).unsqueeze(-1).expand(*where.shape, a.width)
        read = resid.gather(2, index)
        logits = unembed(weights, read.flatten(1, 2), a).view(*where.shape, a.vocab)
        answers = part.gather(2, where)
        logprob = torch.log_softmax(logits, -1).gather(-1, answers.unsqueeze(-1)).squeeze(-1)
        logprobs.append(logprob.sum(-1))
        exacts.append((logits.argmax(-1) == answers).all(-1))
    return torch.cat(logprobs, 1), torch.cat(exacts, 1)
