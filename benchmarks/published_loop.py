"""The training loop of Zhu et al. as their code runs it, written anew from its description: what ours is held against.

One seed at a time. A dataset hands out single sentences, torch's DataLoader collates them, Hugging Face's GPT-2
computes the logits of every position, the loss is that of the last entity, and the probability of every sentence is
read with `.item()`. AdamW as torch gives it, dropout 0.1, nothing tied; the whole validation set after each epoch.
Training loss and probability are logged as there: before the step, under dropout.
"""

import math

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import GPT2Config, GPT2LMHeadModel

from oneway.facts.worlds import Arrows
from oneway.models.architecture import Architecture


class Sentences(Dataset[dict[str, Tensor]]):
    """One sentence of three tokens at a time; the last one is to be predicted."""

    def __init__(self, sentences: Tensor) -> None:
        self.sentences = sentences

    def __len__(self) -> int:
        return len(self.sentences)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.sentences[index], "target": self.sentences[index, -1]}


class PublishedLoop:
    """A model of one seed, its data, and one epoch at a time."""

    def __init__(
        self, a: Architecture, world: Arrows, *, seed: int, batch: int, learning_rate: float, dropout: float
    ) -> None:
        torch.manual_seed(seed)
        self.model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=a.vocab,
                n_positions=world.train.shape[1],
                n_embd=a.width,
                n_layer=a.layers,
                n_head=a.heads,
                resid_pdrop=dropout,
                embd_pdrop=dropout,
                attn_pdrop=dropout,
                tie_word_embeddings=False,
                bos_token_id=0,
                eos_token_id=0,
            )
        )
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=learning_rate)
        train, validation = (Sentences(torch.from_numpy(s)) for s in (world.train, world.validation))
        self.train = DataLoader(train, batch_size=batch, shuffle=True)
        self.validation = DataLoader(validation, batch_size=batch)

    def epoch(self) -> dict[str, float]:
        """Train on every sentence once, then validate; mean losses (nats) and probabilities."""
        self.model.train()
        losses, probabilities = [], []
        for sentences in self.train:
            loss = self._loss(sentences, probabilities)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            losses.append(loss.item())
        validation, validated = self._validate()
        return {
            "train_nll": math.fsum(losses) / len(losses),
            "train_probability": math.fsum(probabilities) / len(probabilities),
            "validation_nll": validation,
            "validation_probability": math.fsum(validated) / len(validated),
        }

    def _validate(self) -> tuple[float, list[float]]:
        self.model.eval()
        losses, probabilities = list[float](), list[float]()
        with torch.no_grad():
            for sentences in self.validation:
                losses.append(self._loss(sentences, probabilities).item())
        return math.fsum(losses) / len(losses), probabilities

    def _loss(self, sentences: dict[str, Tensor], probabilities: list[float]) -> Tensor:
        """The mean loss of the last tokens; every sentence's probability is added to the list."""
        logits = self.model(input_ids=sentences["input_ids"], use_cache=False).logits
        asked = logits[:, -2]
        chances = torch.softmax(asked.detach(), dim=-1)
        for row, target in enumerate(sentences["target"]):
            probabilities.append(chances[row, target].item())
        return torch.nn.functional.cross_entropy(asked, sentences["target"])
