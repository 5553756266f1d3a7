"""A dissection that nobody ran, for tests of what shows it; any texts stand in it wherever one stands."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from oneway.report import Chart, Circuit, Dissection, FactPaths, Picture, Section

PEOPLE = ("Ada Abel", "Bela Brandt", "Cato Costa", "Dora Dietz", "Emil Eriksen", "Fay Falk")
SPORTS = ("tennis", "rugby", "chess")
PLACES = ("before the name", "name 1", "name 2", "behind the name", "last")


def dissection(texts: Sequence[str] = (), facts: Sequence[str] = PEOPLE) -> Dissection:
    """With `texts` these stand, in turn, wherever a text stands."""
    given = iter(range(10**9))

    def text(plain: str) -> str:
        return texts[next(given) % len(texts)] if texts else plain

    picture = Picture(
        title=text("names of 2 tokens"),
        circuit=_circuit(text),
        paths=_paths(text, [text(name) for name in facts]),
        units=_units(text),
    )
    tests = ["MLP to MLP paths", "shared neurons"]
    hypotheses = pl.DataFrame(
        {
            "hypothesis": [text(h) for h in ("single step", "hash and lookup") for _ in tests],
            "test": [text(t) for t in tests * 2],
            "predicted": [text(p) for p in ("no effect", "none shared", "an effect", "some shared")],
            "measured": [0.4, 0.02, 0.4, 0.02],
            "low": [0.3, -0.1, 0.3, -0.1],
            "high": [0.5, 0.14, 0.5, 0.14],
            "agrees": [False, True, True, None],
        }
    )
    standing = {name: text("refuted by one test of two") for name in hypotheses["hypothesis"].unique()}
    return Dissection(
        asked=text("Where does the model keep the sport of six people?"),
        found=text("On the last token of the name, by layer 2."),
        hypotheses=hypotheses,
        standing=standing,
        pictures=(picture,),
        sections=_sections(text),
    )


def _circuit(text) -> Circuit:
    nodes = [
        ("0.1", "name 2", 0, "head", 1, 2.0),
        ("m1", "name 2", 1, "MLP", None, 5.0),
        ("2.3", "last", 2, "head", 3, 6.0),
        ("m3", "last", 3, "MLP", None, 1.0),
    ]
    arrows = [
        ("name 1", "0.1", 2.0),
        ("0.1", "m1", 1.5),
        ("m1", "2.3", 5.0),
        ("name 2", "2.3", 0.6),
        ("2.3", "answer", 6.0),
        ("2.3", "m3", 0.5),
        ("m3", "answer", 1.0),
    ]
    return Circuit(
        places=PLACES,
        tokens=tuple(text(token) for token in ("Fact:", " Ada", " Abel", " plays", " of")),
        layers=4,
        nodes=pl.DataFrame(
            {
                **{
                    column: [n[i] for n in nodes]
                    for i, column in enumerate(("id", "place", "layer", "kind", "head", "effect"))
                },
                "role": [text("moves the name's parts") for _ in nodes],
                "low": [n[5] - 0.2 for n in nodes],
                "high": [n[5] + 0.2 for n in nodes],
            }
        ),
        arrows=pl.DataFrame(
            {
                **{column: [a[i] for a in arrows] for i, column in enumerate(("source", "target", "effect"))},
                "low": [a[2] - 0.1 for a in arrows],
                "high": [a[2] + 0.1 for a in arrows],
                "what": [text("what this arrow carries") for _ in arrows],
            }
        ),
        notes=(text("3 weaker components are left out."),),
    )


def _paths(text, names: list[str]) -> FactPaths:
    rng, count = np.random.default_rng(0), len(names)
    trained = rng.dirichlet(np.ones(3), size=(count, 5)).astype(np.float32)
    return FactPaths(
        facts=pl.DataFrame(
            {
                "subject": names,
                "answer": [text(SPORTS[i % 3]) for i in range(count)],
                "said": [text(SPORTS[0]) for _ in range(count)],
                "probability": rng.random(count),
            }
        ),
        answers=tuple(text(sport) for sport in SPORTS),
        shown=np.array([[i % 3, (i + 1) % 3, (i + 2) % 3] for i in range(count)]),
        weights=rng.normal(size=(count, 5, 3)).astype(np.float32),
        trained=trained,
        heads=("2.3",),
        attention=rng.dirichlet(np.ones(5), size=(count, 1)).astype(np.float32),
        effects=rng.normal(size=(count, 4)).astype(np.float32),
        neurons=pl.DataFrame(
            {
                "fact": [i for i in range(count) for _ in range(2)],
                "layer": [1, 2] * count,
                "neuron": [17, 4] * count,
                "activation": rng.random(2 * count),
                "effect": rng.random(2 * count),
                "writes": [text(sport) for sport in SPORTS[:2] * count],
            }
        ),
        unit=text("logits"),
    )


def _units(text) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "kind": ["neuron", "head"],
            "layer": [1, 2],
            "index": [17, 3],
            "place": ["name 2", "last"],
            "effect": [1.2, 6.0],
            "fires_on": [text("Ada Abel, Fay Falk"), text("Cato Costa")],
            "share": [text("2 of 2: tennis"), text("the last name")],
            "writes_answers": [text("tennis"), text("rugby")],
            "writes_words": [text("racket"), text("scrum")],
        }
    )


def _sections(text) -> tuple[Section, ...]:
    layers = pl.DataFrame(
        {
            "layer": [-1, 0, 1, -1, 0, 1],
            "accuracy": [0.3, 0.5, 0.9, 0.3, 0.4, 0.8],
            "low": [0.2, 0.4, 0.8, 0.2, 0.3, 0.7],
            "high": [0.4, 0.6, 1.0, 0.4, 0.5, 0.9],
            "probe": [text("own")] * 3 + [text("in context")] * 3,
        }
    )
    cells = pl.DataFrame(
        {"from": [text("MLP 0"), text("MLP 1")], "to": [text("MLP 1"), text("MLP 2")], "cost": [0.2, -0.1]}
    )
    band = {"low": "low", "high": "high", "series": "probe"}
    curve = Chart(
        kind="lines", x="layer", y="accuracy", reference=1 / 3, x_title=text("layer"), y_title="right", **band
    )
    bars = Chart(kind="bars", x="layer", y="accuracy", panel="probe", low="low", high="high")
    points = Chart(kind="points", x="low", y="high", name="probe", series="probe")
    heat = Chart(kind="heat", x="from", y="to", value="cost")
    told = "Two sentences that anybody can read. This is the second."
    return (
        Section(
            id="F5",
            title=text("The lookup is early"),
            text=text(told),
            table=layers,
            charts=(curve, bars, points),
        ),
        Section(id="F9", title=text("MLPs feed one another"), text=text(told), table=cells, charts=(heat,)),
    )
