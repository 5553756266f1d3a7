"""What the engine's unit tests share: an engine on each tiny model, and prompts."""

import pytest
import torch
from tiny import MODELS, VOCAB, tiny_model
from torch import Tensor
from transformers import PreTrainedModel

from oneway.engine import Engine
from oneway.engine.prepared import Prepared
from oneway.models.families import read_decoder


@pytest.fixture(scope="session", params=sorted(MODELS))
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny_model(request.param)


@pytest.fixture(scope="session")
def engine(model: PreTrainedModel) -> Engine:
    return Engine(Prepared(*read_decoder(model)))


@pytest.fixture(scope="session")
def tokens() -> Tensor:
    """Five prompts of nine tokens, of which the first two are common."""
    ids = torch.randint(0, VOCAB, (5, 9), generator=torch.Generator().manual_seed(1))
    ids[:, :2] = ids[0, :2]
    return ids
