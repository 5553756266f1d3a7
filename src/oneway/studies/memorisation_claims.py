"""The claims of the study `memorisation`, with the rules fixed before it ran."""

from oneway.evidence import Claim
from oneway.evidence.claim import Measured

POST = "Fact Finding (Nanda et al. 2023), post 4"
INTRODUCTION = "Fact Finding (Nanda et al. 2023), post 1, introduction"
CAPACITY = "Allen-Zhu & Li 2024 (arXiv 2404.05405)"
ABOUT = 1.5  # "about x" is from x / 1.5 to 1.5 x


def _about(estimate: float, value: float) -> bool:
    return value / ABOUT <= estimate <= value * ABOUT


def _each(m: Measured, beginning: str) -> list[str]:
    return [name for name in m if name.startswith(beginning)]


def _inside(m: Measured, name: str, value: float) -> bool:
    """The whole interval is about the value."""
    return _about(m[name].low, value) and _about(m[name].high, value)


def _outside(m: Measured, name: str, value: float) -> bool:
    """No part of the interval is about the value."""
    return m[name].high < value / ABOUT or m[name].low > value * ABOUT


OF_NETWORKS = (
    Claim(
        id="F17.capacity",
        text="One hidden layer over frozen random inputs memorises random binary answers up to about two pairs per "
        "parameter, at every width from 8 to 128: 99% of 1.9 pairs per parameter, and not of 2.5.",
        source=f"{POST}; our measurement before this study",
        rule="Control: at the narrowest and the widest more than 90% are known at 1.9 (lower bound over seeds). "
        "Supports: at every width the interval of the threshold lies between 1.9 and 2.5. Refutes: at some width it "
        "lies outside.",
        control=lambda m: all(m[f"known_width_{w}_at_1.9"].low > 0.9 for w in (8, 128)),
        supports=lambda m: all(m[n].low >= 1.9 and m[n].high < 2.5 for n in _each(m, "threshold_width")),
        refutes=lambda m: any(m[n].high < 1.9 or m[n].low >= 2.5 for n in _each(m, "threshold_width")),
        reads=("threshold_width*", "known_width*"),
    ),
    Claim(
        id="F17.capacity-linear",
        text="The number of pairs grows in proportion to the parameters: pairs per parameter do not depend on the "
        "width.",
        source=POST,
        rule="Control: the threshold of the widest is above 1 pair per parameter (lower bound). Supports: the "
        "interval over seeds of the slope of ln(pairs per parameter) over ln(parameters) lies within ±0.05. Refutes: "
        "it lies outside.",
        control=lambda m: m["threshold_width_128"].low > 1,
        supports=lambda m: m["threshold_slope"].low > -0.05 and m["threshold_slope"].high < 0.05,
        refutes=lambda m: m["threshold_slope"].high < -0.05 or m["threshold_slope"].low > 0.05,
        reads=("threshold_slope", "threshold_width_128"),
    ),
    Claim(
        id="F17.bits",
        text="About two bits per parameter, whatever the inputs (frozen, trained, one-hot), the layers (one, two) "
        "and the answers (2, 16).",
        source=f"{CAPACITY}, of knowledge in transformers; asked here of the toy networks",
        rule="Control: about two bits over frozen inputs at width 32. Supports: every arm's interval lies between "
        "1.33 and 3 bits per parameter. Refutes: some arm's interval lies outside.",
        control=lambda m: _inside(m, "bits_width_32", 2.0),
        supports=lambda m: all(_inside(m, name, 2.0) for name in _each(m, "bits_")),
        refutes=lambda m: any(_outside(m, name, 2.0) for name in _each(m, "bits_")),
        reads=("bits_width_32", "bits_two_layers", "bits_trained", "bits_one_hot", "bits_16_answers"),
    ),
    Claim(
        id="F17.tables",
        text="The network is a sum of lookup tables: with every unit replaced by its table over the 40,000 inputs, "
        "every answer stays.",
        source=POST,
        rule="Control: without the table that varies most at least 1% of the answers change (lower bound). Supports: "
        "lower bound of the share of unchanged answers at least 0.9999. Refutes: its upper bound is below that.",
        control=lambda m: m["random_tables_without_one"].high < 0.99,
        supports=lambda m: m["random_tables"].low >= 0.9999,
        refutes=lambda m: m["random_tables"].high < 0.9999,
        reads=("random_tables", "random_tables_without_one", "random_active"),
    ),
    Claim(
        id="F17.macrofeature",
        text="No unit of a memoriser is a macrofeature: even the best one tells the answers apart poorly.",
        source=POST,
        rule="Control: where a single unit could give the answers, the best unit's AUC is above 0.6 (lower bound). "
        "Supports: upper bound of the best unit's AUC below 0.6. Refutes: its lower bound is above 0.6.",
        control=lambda m: m["ruled_best_auc"].low > 0.6,
        supports=lambda m: m["random_best_auc"].high < 0.6,
        refutes=lambda m: m["random_best_auc"].low > 0.6,
        reads=("random_best_auc", "ruled_best_auc"),
    ),
    Claim(
        id="F17.bagging",
        text="The units are no bag of independent weak classifiers: independent units with the same votes would be "
        "right less often.",
        source=f"{POST}; our reading",
        rule="Control: at least 98% of the pairs are known (lower bound). Supports: lower bound of the accuracy less "
        "that of the units made independent above 0.05. Refutes: its upper bound is below 0.05.",
        control=lambda m: m["random_accuracy"].low > 0.98,
        supports=lambda m: m["random_gain_over_bagging"].low > 0.05,
        refutes=lambda m: m["random_gain_over_bagging"].high < 0.05,
        reads=("random_accuracy", "random_bagged", "random_gain_over_bagging", "random_vote_correlation"),
    ),
    Claim(
        id="F17.held-out",
        text="Pairs that were not learnt are answered at the base rate.",
        source=POST,
        rule="Control: where a rule gives the answers, held-out accuracy is above 0.9 (lower bound). Supports: the "
        "interval of the held-out accuracy lies within 0.02 of 1/2. Refutes: it lies outside.",
        control=lambda m: m["ruled_held_out"].low > 0.9,
        supports=lambda m: m["random_held_out"].low > 0.48 and m["random_held_out"].high < 0.52,
        refutes=lambda m: m["random_held_out"].low > 0.52 or m["random_held_out"].high < 0.48,
        reads=("random_held_out", "ruled_held_out"),
    ),
)


def _growth(id: str, text: str, series: str) -> Claim:
    name = f"exponent_{series}"
    return Claim(
        id=id,
        text=text,
        source=f"{INTRODUCTION} (said of GPT-3.5 and GPT-4, as an intuition)",
        rule="Control: the number of facts known grows (lower bound of the exponent with everything above 0). "
        "Supports: lower bound over seeds of the slope of ln(facts known) over ln(size) above 1. Refutes: its upper "
        "bound is below 1.",
        control=lambda m: m["exponent_both"].low > 0,
        supports=lambda m: m[name].low > 1,
        refutes=lambda m: m[name].high < 1,
        reads=tuple(dict.fromkeys((name, "exponent_both"))),
    )


OF_TRANSFORMERS = (
    Claim(
        id="F17.exposures",
        text="A transformer keeps about 2 bits per parameter of facts told 1,000 times, and about 1 of facts told "
        "100 times.",
        source=f"{CAPACITY}, results 1 and 2",
        rule="Control: what is told more often is kept better (intervals apart). Supports: the intervals lie between "
        "1.33 and 3 bits, and between 0.67 and 1.5. Refutes: one of them lies outside.",
        control=lambda m: m["told_1000"].low > m["told_100"].high,
        supports=lambda m: _inside(m, "told_1000", 2.0) and _inside(m, "told_100", 1.0),
        refutes=lambda m: _outside(m, "told_1000", 2.0) or _outside(m, "told_100", 1.0),
        reads=("told_100", "told_1000"),
    ),
    _growth(
        "F17.growth",
        "The number of facts known grows faster than linearly in neurons, the residual width growing with them.",
        "both",
    ),
    _growth(
        "F17.growth-neurons",
        "The number of facts known grows faster than linearly in neurons alone, at one residual width.",
        "neurons",
    ),
    _growth(
        "F17.growth-width",
        "The number of facts known grows faster than linearly in the residual width alone, at one number of neurons.",
        "width",
    ),
)  # fmt: skip

CLAIMS = OF_NETWORKS + OF_TRANSFORMERS
