"""How much of a relation could be guessed from the names: what is left of it has to be learnt by heart.

Three classifiers read the subject's text (its words by place, its pieces of one to four letters, and the pieces with a
Gaussian kernel, which can combine them) and are judged on subjects that they have not seen. Their best accuracy is
compared with what the same three reach, by the same choice of the best, when the answers are shuffled among the
subjects: then there is nothing to be found.

All three are kernel ridge classifiers: their predictions are linear in the answers, so that a hundred shuffled tables
are judged with one factorisation. Source: the Fact Finding sequence (Nanda et al. 2023), post 1, footnote 22, which
expects that names carry some signal, and post 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import t as student
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel
from sklearn.model_selection import KFold

from oneway.evidence.estimate import Estimate
from oneway.facts.fact import FactTable

FOLDS, PERMUTATIONS = 10, 100
MOST = 2000  # subjects that are read; of a larger table as many are drawn
FEWEST = 20  # subjects below which no classifier is asked
COLUMNS = 4000  # answers times shuffled tables that are judged at once
RIDGE = 1.0  # of kernels whose diagonal is about 1


@dataclass(frozen=True, slots=True)
class MemorisationScore:
    """What of a relation generalises from name to name.

    `above_chance` is the accuracy on held-out subjects less what shuffled answers give, with its 95% interval: it
    contains 0 where nothing can be generalised. `base_rate`: the share of subjects with the most frequent answer.
    `p` is the share of shuffled tables, this one among them, that are guessed at least as well. `by_classifier` is
    each one's accuracy.
    """

    above_chance: Estimate
    accuracy: float
    base_rate: float
    shuffled: float
    p: float
    subjects: int
    answers: int
    by_classifier: dict[str, float]

    @property
    def memorised(self) -> Estimate:
        """The share of what chance leaves open that names do not tell: 1 where all must be learnt by heart."""
        e, open_ = self.above_chance, 1 - self.shuffled
        return Estimate(1 - e.mean / open_, 1 - e.high / open_, 1 - e.low / open_, e.n, "share")


def memorisation_score(
    table: FactTable, relation: str, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> MemorisationScore:
    """How well a relation's objects are guessed from the text of subjects never seen, above shuffled answers.

    Every subject is asked once; of several objects any is right, and the first is what is learnt. The interval is
    accuracy − mean of shuffled ± t(0.975, n − 1)·√(v + s²/n), n being the number of shuffled tables, s² the variance of
    their accuracies, and v the larger of s² and the accuracy's own variance over subjects, a(1 − a)/subjects.

    Raises ValueError where the table has fewer than 20 subjects in the relation, or they have all one object.
    """
    objects = _objects_of(table, relation)
    names = sorted(objects)
    rng = np.random.default_rng(seed)
    if len(names) < FEWEST:
        raise ValueError(
            f"relation {relation!r} has {len(names)} subjects: at least {FEWEST} are needed to hold some out"
        )
    if len(names) > MOST:
        names = [names[place] for place in np.sort(rng.permutation(len(names))[:MOST])]
    values = {value: number for number, value in enumerate(sorted({objects[name][0] for name in names}))}
    if len(values) < 2:
        raise ValueError(f"relation {relation!r} has one object only: there is nothing to guess")
    learnt = np.array([values[objects[name][0]] for name in names])
    right = np.zeros((len(names), len(values)), dtype=bool)
    for row, name in enumerate(names):
        right[row, [values[value] for value in objects[name] if value in values]] = True
    orders = np.stack([np.arange(len(names)), *(rng.permutation(len(names)) for _ in range(permutations))])
    accuracies = {
        classifier: held_out_accuracies(kernel, learnt, right, orders, seed)
        for classifier, kernel in kernels(names).items()
    }
    best = np.max(list(accuracies.values()), axis=0)
    return MemorisationScore(
        above_chance=_above(float(best[0]), best[1:], len(names)),
        accuracy=float(best[0]),
        base_rate=float(right.mean(0).max()),
        shuffled=float(best[1:].mean()),
        p=float((best >= best[0]).mean()),
        subjects=len(names),
        answers=len(values),
        by_classifier={name: float(found[0]) for name, found in accuracies.items()},
    )


def _objects_of(table: FactTable, relation: str) -> dict[str, tuple[str, ...]]:
    objects: dict[str, dict[str, None]] = {}
    for fact in table.select(relation=relation):
        objects.setdefault(fact.subject, {})[fact.object] = None
    return {subject: tuple(found) for subject, found in objects.items()}


def kernels(names: Sequence[str]) -> dict[str, Float[np.ndarray, "subject subject"]]:
    """How alike two names are to each classifier: 1 for a name with itself."""
    words = [
        " ".join(f"{place}·{word} {place - len(split)}·{word}" for place, word in enumerate(split))
        for split in (name.split() for name in names)
    ]
    parts = TfidfVectorizer(token_pattern=r"\S+").fit_transform(words)
    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True).fit_transform(names)
    found = {
        "words": linear_kernel(parts),
        "pieces": linear_kernel(pieces),
        "pieces combined": rbf_kernel(pieces, gamma=1.0),
    }
    return {name: np.asarray(kernel, dtype=np.float64) for name, kernel in found.items()}


def held_out_accuracies(
    kernel: Float[np.ndarray, "subject subject"],
    learnt: Int[np.ndarray, " subject"],
    right: Bool[np.ndarray, "subject answer"],
    orders: Int[np.ndarray, "table subject"],
    seed: int = 0,
) -> Float[np.ndarray, " table"]:
    """The share of held-out subjects whose highest score is right, for every order in which the answers are dealt.

    Scores of the subjects h left out of a fold are K_h (K_t + λ1)⁻¹ (Y_t − mean) + mean, Y one-hot; the mean over the
    others is the base rate, which a classifier that learns nothing falls back to.
    """
    n, answers = right.shape
    hits = np.zeros(len(orders))
    at_once = max(1, COLUMNS // answers)
    for train, test in KFold(min(FOLDS, n), shuffle=True, random_state=seed).split(kernel):
        factor = cho_factor(kernel[np.ix_(train, train)] + RIDGE * np.eye(len(train)))
        weights = cho_solve(factor, kernel[np.ix_(train, test)])
        for start in range(0, len(orders), at_once):
            dealt = orders[start : start + at_once]
            targets = np.eye(answers)[learnt[dealt[:, train]]]  # [table train answer]
            mean = targets.mean(1, keepdims=True)
            scores = np.einsum("th,pta->pha", weights, targets - mean, optimize=True) + mean
            said = scores.argmax(-1)
            hits[start : start + at_once] += right[dealt[:, test], said].sum(1)
    return hits / n


def _above(accuracy: float, shuffled: Float[np.ndarray, " table"], subjects: int) -> Estimate:
    n, spread = len(shuffled), float(shuffled.var(ddof=1))
    own = accuracy * (1 - accuracy) / subjects
    half = float(student.ppf(0.975, n - 1)) * (max(own, spread) + spread / n) ** 0.5
    mean = accuracy - float(shuffled.mean())
    return Estimate(mean, mean - half, mean + half, subjects, "probability above shuffled answers")
