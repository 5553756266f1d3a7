"""F1–F3: which components say the answer, where the heads among them look, and what those read."""

from dataclasses import replace

import numpy as np
import polars as pl
import torch

from oneway.anatomy.asked import Asked
from oneway.anatomy.extraction import direct, looking, reading
from oneway.anatomy.intervals import rank_correlation, resampled
from oneway.anatomy.specimen import CannotTell, Specimen
from oneway.anatomy.steps.step import Finding, Step
from oneway.evidence.estimate import Estimate, over_facts


def says(specimen: Specimen) -> Finding:
    """F1. `share`: of the heads' positive effects, what a handful has, chosen on half of the facts and judged on the
    other half; `even`: what they would have if all heads had as much."""
    found = specimen.direct
    heads = found.direct.heads.flatten(0, 1).double().numpy()  # [head fact]
    choosing = specimen.half.numpy()
    chosen = np.argsort(-heads[:, choosing].mean(1))[: specimen.handful]
    judged = heads[:, ~choosing]

    def share(facts: np.ndarray) -> float:
        positive = judged[:, facts].mean(1).clip(0)
        return float(positive[chosen].sum() / positive.sum()) if positive.sum() > 0 else np.nan

    both = [torch.cat((e.heads.flatten(0, 1), e.mlps)) for e in (found.direct, found.total)]
    agreement = resampled(
        lambda facts: rank_correlation(*(effects[:, facts].mean(-1) for effects in both)),
        len(specimen.asked),
        "correlation",
    )
    even = specimen.handful / len(heads)
    table = found.direct.table().with_columns(path=pl.lit("direct"))
    return Finding(
        tables={"components": pl.concat([table, found.total.table().with_columns(path=pl.lit("total"))])},
        measured={
            "F1.log_odds": over_facts(found.direct.clean.double().cpu().numpy(), "logits"),
            "F1.share": resampled(share, judged.shape[1], "share"),
            "F1.even": Estimate(even, even, even, len(heads), "share"),
            "F1.agreement": agreement,
        },
    )


def looks(specimen: Specimen) -> Finding:
    """F2. Where the extracting heads look; and whether the first of them says the answer when another is asked for."""
    asked = specimen.asked
    found = looking(specimen.engine, asked, specimen.extracting)
    resting = [*range(asked.front or 1), *_newlines(specimen)]
    top = found.pattern[0].double().numpy()  # [fact key]
    measured = {
        "F2.on_name": over_facts(top[:, asked.final], "attention"),
        "F2.on_name_or_resting": over_facts(top[:, [asked.final, *resting]].sum(1), "attention"),
        "F2.even": over_facts(np.full(len(asked), 1 / (asked.last + 1)), "attention"),
    }
    try:
        otherwise = _asked_for_something_else(specimen)
    except CannotTell as reason:
        return Finding({"attention": found.table()}, measured, (f"F2.otherwise: {reason}",))
    head = specimen.extracting[0]
    said = direct(specimen.engine, otherwise, seed=specimen.seed).direct.heads[head]
    own = specimen.direct.direct.heads[head]
    measured["F2.said"] = over_facts(own.double().cpu().numpy(), "logits")
    measured["F2.said_otherwise"] = over_facts(said.double().cpu().numpy(), "logits")
    return Finding({"attention": found.table()}, measured)


def _newlines(specimen: Specimen) -> list[int]:
    tokenizer, asked = specimen.engine.tokenizer, specimen.asked
    assert tokenizer is not None
    first = asked.tokens[0].tolist()
    return [i for i, token in enumerate(first) if i > asked.front and "\n" in tokenizer.decode([token])]


def _asked_for_something_else(specimen: Specimen) -> Asked:
    """Prompts for another relation of the same entities, with the answers of this one."""
    own = {
        fact.subject: int(right)
        for fact, right in zip(specimen.asked.facts, specimen.asked.right, strict=True)
    }
    for relation in specimen.table.relations:
        if relation == specimen.relation:
            continue
        try:
            other = specimen.asked_by(relation=relation, template=0)
        except CannotTell:
            continue
        if len(other) >= 20:
            right = torch.tensor([own[fact.subject] for fact in other.facts])
            return replace(other, answers=specimen.asked.answers, labels=specimen.asked.labels, right=right)
    raise CannotTell("the table has no other relation of the same entities to ask for")


def reads(specimen: Specimen) -> Finding:
    """F3. What the extracting head reads on the name's last token, and whether later ones read what it wrote there."""
    head, engine = specimen.head, specimen.engine
    found = reading(engine, specimen.asked, head, seed=specimen.seed)
    parts = torch.cat((found.heads.flatten(0, 1), found.mlps)).double().cpu().numpy()
    of_heads = found.heads.shape[0] * found.heads.shape[1]

    def mlps(facts: np.ndarray) -> float:
        positive = parts[:, facts].mean(1).clip(0)
        return float(positive[of_heads:].sum() / positive.sum()) if positive.sum() > 0 else np.nan

    tables = [found.table().with_columns(reader_layer=head[0], reader_head=head[1])]
    measured = {"F3.mlps": resampled(mlps, len(specimen.asked), "share")}
    later = [one for one in specimen.extracting[1:] if one[0] > head[0]]
    notes = () if later else ("F3.composition: no other extracting head comes after the first",)
    shares = []
    for one in later:
        theirs = reading(engine, specimen.asked, one, seed=specimen.seed)
        tables.append(theirs.table().with_columns(reader_layer=one[0], reader_head=one[1]))
        read = torch.cat((theirs.heads.flatten(0, 1), theirs.mlps)).double().cpu().numpy()
        shares.append((read, head[0] * engine.form.heads + head[1]))
    if shares:

        def first(facts: np.ndarray) -> float:
            means = [(read[:, facts].mean(1).clip(0), at) for read, at in shares]
            found = [mean[at] / mean.sum() for mean, at in means if mean.sum() > 0]
            return float(np.mean(found)) if found else np.nan

        measured["F3.composition"] = resampled(first, len(specimen.asked), "share")
    return Finding({"reading": pl.concat(tables)}, measured, notes)


STEPS = (
    Step(
        id="F1",
        title="What says the answer",
        measures=("F1.log_odds", "F1.share", "F1.even", "F1.agreement"),
        ask=says,
    ),
    Step(
        id="F2",
        title="Where the heads that say it look",
        measures=("F2.on_name", "F2.on_name_or_resting", "F2.even", "F2.said", "F2.said_otherwise"),
        ask=looks,
    ),
    Step(id="F3", title="What they read there", measures=("F3.mlps", "F3.composition"), ask=reads),
)
