"""Numbers with their intervals, claims with their rules, runs with their records. No torch."""

from oneway.evidence.claim import Claim, Judgement, Measured, Verdict
from oneway.evidence.estimate import Estimate, mcnemar, over_facts, over_pairs, over_seeds
from oneway.evidence.record import RunRecord, sha256
from oneway.evidence.study import Audited, Pictured, Study, StudyConfig

__all__ = [
    "Audited",
    "Claim",
    "Estimate",
    "Judgement",
    "Measured",
    "Pictured",
    "RunRecord",
    "Study",
    "StudyConfig",
    "Verdict",
    "mcnemar",
    "over_facts",
    "over_pairs",
    "over_seeds",
    "sha256",
]
