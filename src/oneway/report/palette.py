"""One colour for one thing in every figure, table and page; told apart by colour-blind readers too.

The hues are those of Okabe and Ito. A class has the colour of the direction that it adds.
"""

from typing import NamedTuple


class Tone(NamedTuple):
    """A colour on a light and on a dark background."""

    light: str
    dark: str


DIRECTIONS = {
    "forward": Tone("#0072B2", "#56B4E9"),
    "reverse": Tone("#D55E00", "#F08A4B"),
    "in_context": Tone("#00835F", "#2BC196"),
}

CLASSES = {
    "both_ways": Tone("#A8488A", "#DE93C4"),
    "forward_only": DIRECTIONS["forward"],
    "reverse_only": DIRECTIONS["reverse"],
    "in_context_only": DIRECTIONS["in_context"],
    "neither": Tone("#8A8A8A", "#8F8F8F"),
}

# What became of a fact between two audits; a loss must be told from a gain without its colour, too.
CHANGES = {
    "gained": Tone("#00704F", "#2BC196"),
    "lost": Tone("#B34700", "#F08A4B"),
    "turned_around": Tone("#8A6D00", "#E6C229"),
    "kept": Tone("#8A8A8A", "#8F8F8F"),
    "not_comparable": Tone("#B9B8B2", "#5B6064"),
    "only_before": Tone("#B9B8B2", "#5B6064"),
    "only_after": Tone("#B9B8B2", "#5B6064"),
}

VERDICTS = {
    "reproduced": Tone("#00704F", "#2BC196"),
    "contradicted": Tone("#B34700", "#F08A4B"),
    "inconclusive": Tone("#5F6368", "#A7ABB0"),
}

# For quantities that are neither a direction nor a class.
CYCLE = (
    Tone("#0072B2", "#56B4E9"),
    Tone("#D55E00", "#F08A4B"),
    Tone("#00835F", "#2BC196"),
    Tone("#A8488A", "#DE93C4"),
    Tone("#8A6D00", "#E6C229"),
    Tone("#5F6368", "#A7ABB0"),
)

# Plotly's names; the page's legend draws the same shapes in the same order.
SYMBOLS = ("circle", "diamond", "square", "cross", "triangle-up", "x")


def words(name: str) -> str:
    """An identifier as a reader says it: "in_context_only" → "in context only"."""
    return name.replace("_", " ")


def css_variables() -> str:
    """The palette as CSS: a custom property per direction, class, change and verdict, light and dark."""
    tones = {f"direction-{k}": v for k, v in DIRECTIONS.items()}
    tones |= {f"class-{k}": v for k, v in CLASSES.items()}
    tones |= {f"change-{k}": v for k, v in CHANGES.items()}
    tones |= {f"verdict-{k}": v for k, v in VERDICTS.items()}
    tones |= {f"cycle-{i}": v for i, v in enumerate(CYCLE)}
    light = "".join(f"--{name}:{tone.light};" for name, tone in tones.items())
    dark = "".join(f"--{name}:{tone.dark};" for name, tone in tones.items())
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
