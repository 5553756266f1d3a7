"""What a checkpoint says of facts told in groups: exact match, and the right answer against others of its group."""

from collections.abc import Iterator, Sequence

import numpy as np

from oneway.facts import Direction, FactTable, questions
from oneway.facts.rendering import Question
from oneway.models.checkpoint import Checkpoint
from oneway.recall.scorer import Scores, choose_scorer
from oneway.recall.spans import Splitter
from oneway.studies.exam import OTHERS, compared, drawn_others


class CheckpointExam:
    """Questions to one model in the form of a checkpoint, through plain tokens; `seed` draws the others."""

    def __init__(self, checkpoint: Checkpoint, seed: int) -> None:
        self.splitter, self.seed = Splitter(checkpoint.tokenizer), seed
        self.scorer, _ = choose_scorer(checkpoint.model)

    def group(self, table: FactTable, direction: Direction) -> Iterator[tuple[str, float]]:
        """What is measured of a group of facts of one relation, by name.

        `exact_match`, also less that of guessing in the group; `logprob` of the whole right answer in nats; and
        `compared` with drawn others, where a fact's phrasings are averaged first.

        Raises ValueError for a group of fewer than two facts.
        """
        asked = list(questions(table, (direction,)))
        names = [fact.object if direction is Direction.FORWARD else fact.subject for fact in table]
        right = self._scores(asked, [question.answer for question in asked])
        share = float(right.greedy.mean())
        drawn = drawn_others(len(names), min(OTHERS, len(names) - 1), np.random.default_rng((self.seed, 0)))
        others = [
            self._scores(asked, [q.answer_with(names[other[q.fact_index]]) for q in asked]).logprob
            for other in drawn
        ]
        yield "exact_match", share
        yield "exact_match_over_chance", share - 1 / len(names)
        yield "logprob", float(right.logprob.mean())
        by_fact = [logprob.reshape(len(names), -1).mean(1) for logprob in (right.logprob, *others)]
        yield from compared(by_fact[0], np.stack(by_fact[1:]))._asdict().items()

    def exact_match(self, table: FactTable, direction: Direction) -> float:
        """The share of questions whose whole answer greedy decoding gives."""
        asked = list(questions(table, (direction,)))
        return float(self._scores(asked, [question.answer for question in asked]).greedy.mean())

    def _scores(self, asked: Sequence[Question], answers: Sequence[str]) -> Scores:
        splits = self.splitter.split([question.prompt for question in asked], answers)
        pairs = np.arange(len(splits))[:, None].repeat(2, 1)
        return self.scorer.score(
            [split.context for split in splits], [split.answer for split in splits], pairs
        )
