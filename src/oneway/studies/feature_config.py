"""The sizes of the study `features`: what is grown, how it is read, and what is compiled."""

from dataclasses import dataclass, field
from typing import Literal

KINDS = ("sport", "first name", "surname", "entity")  # the widest first, see `kinds_of_latents`

Place = Literal["mlp", "residual"]
PLACES: tuple[Place, ...] = ("mlp", "residual")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The athletes, and the model that is taught them; `rows` of 32 tokens a step, at first a roll of names."""

    athletes: int = 200
    first_names: int = 20
    surnames: int = 40
    layers: int = 4
    width: int = 64
    steps: int = 350
    roll_steps: int = 150
    rows: int = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Dictionaries:
    """Sparse autoencoders: `latents` on every layer, `widths` besides on the middle one; `batches` of text for all."""

    latents: int = 256
    widths: tuple[int, ...] = (64, 512)
    active: int = 8
    steps: int = 250
    batch: int = 256
    learning_rate: float = 1e-2
    batches: int = 80
    ablated: int = 8  # values of each kind whose latent is taken out


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """The table that is compiled, and dictionaries of so many latents for each planted direction."""

    people: int = 60
    first_names: int = 10
    surnames: int = 20
    latents_per_direction: tuple[float, ...] = (0.5, 2.0)
    steps: int = 600
    batch: int = 128
    learning_rate: float = 1e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What is grown, how it is read, and what is compiled."""

    world: World = field(default_factory=World)
    dictionaries: Dictionaries = field(default_factory=Dictionaries)
    planted: Planted = field(default_factory=Planted)
    seeds: tuple[int, ...] = tuple(range(30, 34))


def quick() -> Config:
    """Four seeds of a model that is grown in ten seconds."""
    return Config()


def standard() -> Config:
    """Ten seeds, three times as many athletes, 6 layers."""
    return Config(
        world=World(athletes=600, first_names=40, surnames=80, layers=6, steps=700, roll_steps=300, rows=32),
        dictionaries=Dictionaries(latents=512, widths=(64, 256, 1024), steps=350, batches=100, ablated=16),
        planted=Planted(people=120, first_names=20, surnames=30, latents_per_direction=(0.5, 1.0, 2.0, 4.0)),
        seeds=tuple(range(40, 50)),
    )
