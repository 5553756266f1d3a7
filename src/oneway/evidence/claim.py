"""A claim carries the rule by which it is judged; the rule is written before the run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from oneway.evidence.estimate import Estimate

Measured = Mapping[str, Estimate]
Rule = Callable[[Measured], bool]


class Verdict(StrEnum):
    """What a run says of a claim."""

    REPRODUCED = "reproduced"
    CONTRADICTED = "contradicted"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A statement of a source with its fixed rule.

    `id` starts with the identifier of the experiment ("Z3", "F9.from-first-mlp"). `control` is the positive
    control: where it fails, the run could not have shown the effect. `supports` and `refutes` exclude each
    other. `rule` puts the three into words for the reader. `reads` names the estimates that the rule looks at
    (none named: all that were measured); a name that ends in "*" stands for all that begin so, or for none.
    `only_where` names an estimate that not every recipe measures: where it is missing the claim is not asked.
    """

    id: str
    text: str
    source: str
    rule: str
    control: Rule
    supports: Rule
    refutes: Rule
    reads: tuple[str, ...] = ()
    only_where: str = ""

    def __str__(self) -> str:
        return self.id

    def asked_in(self, measured: Measured) -> bool:
        """Whether a run that measured this asks about the claim at all."""
        return not self.only_where or self.only_where in measured

    def judge(self, measured: Measured) -> "Judgement":
        """Apply the fixed rule to the estimates that it reads.

        A failed control, or any interval that is not finite, is inconclusive. Raises ValueError where the
        rule both supports and refutes (such a rule is a mistake, not a result), or reads what was not measured.
        """
        whole = [name for name in self.reads if not name.endswith("*")]
        if missing := [name for name in whole if name not in measured]:
            raise ValueError(f"the rule of claim {self.id} reads what was not measured: {', '.join(missing)}")
        if self.reads:
            beginnings = tuple(name.removesuffix("*") for name in self.reads if name.endswith("*"))
            read = [name for name in measured if name not in whole and name.startswith(beginnings)]
            measured = {name: measured[name] for name in (*whole, *read)}
        if not all(estimate.defined for estimate in measured.values()):
            return Judgement(self, measured, Verdict.INCONCLUSIVE, "an interval is undefined")
        if not self.control(measured):
            return Judgement(self, measured, Verdict.INCONCLUSIVE, "the positive control failed")
        supports, refutes = self.supports(measured), self.refutes(measured)
        if supports and refutes:
            raise ValueError(f"the rule of claim {self.id} both supports and refutes: {dict(measured)}")
        if supports:
            return Judgement(self, measured, Verdict.REPRODUCED, "the rule's support holds")
        if refutes:
            return Judgement(self, measured, Verdict.CONTRADICTED, "the rule's refutation holds")
        return Judgement(self, measured, Verdict.INCONCLUSIVE, "neither support nor refutation holds")


@dataclass(frozen=True, slots=True)
class Judgement:
    """A claim, what was measured for it, the verdict, and why."""

    claim: Claim
    measured: Measured
    verdict: Verdict
    reason: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.claim.id,
            "text": self.claim.text,
            "source": self.claim.source,
            "rule": self.claim.rule,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "measured": {name: estimate.to_dict() for name, estimate in self.measured.items()},
        }
