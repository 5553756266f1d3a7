"""Many seeds recite their own tables at once: every sentence once an epoch, in an order of the seed's own."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from oneway.facts import FactTable
from oneway.facts.corpora import training_sentences
from oneway.training.fit import Batch
from oneway.training.lessons import Loss, encoded


class Recitation:
    """Batches as a function of the step, one seed per table; `steps` are those of an epoch.

    Each sentence stands in a row of its own behind a BOS. `loss` is on its answer and the token after it
    ("answer"), or on all its tokens ("document"). Every table must give equally many sentences.
    """

    def __init__(
        self,
        tables: Sequence[FactTable],
        tokenizer: PreTrainedTokenizerFast,
        seeds: Sequence[int],
        *,
        batch: int,
        loss: Loss,
        device: str = "cpu",
    ):
        """Raises ValueError where the tables give different numbers of sentences."""
        read = [encoded(list(training_sentences(table)), tokenizer, loss) for table in tables]
        counts = {len(documents) for documents in read}
        if len(counts) != 1:
            raise ValueError(f"the tables of the seeds give different numbers of sentences: {sorted(counts)}")
        longest = max(len(tokens) for documents in read for tokens, _ in documents)
        shape = (len(read), counts.pop(), longest)
        self.tokens = torch.zeros(shape, dtype=torch.long, device=device)
        self.target = torch.zeros(shape, dtype=torch.bool, device=device)
        for seed, documents in enumerate(read):
            for row, (tokens, target) in enumerate(documents):
                self.tokens[seed, row, : len(tokens)] = torch.from_numpy(tokens)
                self.target[seed, row, : len(tokens)] = torch.from_numpy(target)
        self.seeds, self.batch = tuple(seeds), batch
        self.steps = -(-shape[1] // batch)
        self._epoch, self._order = -1, np.zeros((0, 0), dtype=np.int64)

    def __call__(self, step: int) -> Batch:
        epoch, at = divmod(step, self.steps)
        if epoch != self._epoch:
            count = self.tokens.shape[1]
            orders = [np.random.default_rng((seed, 1 + epoch)).permutation(count) for seed in self.seeds]
            self._epoch, self._order = epoch, np.stack(orders)
        rows = torch.from_numpy(self._order[:, at * self.batch : (at + 1) * self.batch])
        index = rows.to(self.tokens.device).unsqueeze(-1).expand(-1, -1, self.tokens.shape[2])
        tokens, target = self.tokens.gather(1, index), self.target.gather(1, index).flatten(1)
        # Seeds have different numbers of targets in a batch: the fewer are filled up with others of weight 0.
        most = int(target.sum(1).max())
        targets = target.int().argsort(dim=1, descending=True, stable=True)[:, :most].sort(dim=1).values
        return Batch(
            tokens=tokens,
            positions=(targets - 1).clamp_min(0),
            targets=tokens.flatten(1).gather(1, targets),
            weights=target.gather(1, targets).float(),
        )
