"""Numbers with their intervals, claims with their rules, runs with their records. No torch."""

from oneway.evidence.claim import Claim, Judgement, Measured, Verdict
from oneway.evidence.estimate import Estimate, over_facts, over_seeds
from oneway.evidence.record import RunRecord, sha256
from oneway.evidence.study import Study, StudyConfig

__all__ = [
    "Claim",
    "Estimate",
    "Judgement",
    "Measured",
    "RunRecord",
    "Study",
    "StudyConfig",
    "Verdict",
    "over_facts",
    "over_seeds",
    "sha256",
]
