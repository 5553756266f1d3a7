"""One file per claim family. A study is found by its name; none is imported before it is asked for."""

from importlib import import_module
from typing import Any

from oneway.evidence.study import Study

STUDIES = {
    "bilinear": "oneway.studies.bilinear",
    "canaries": "oneway.studies.canaries",
    "celebrities": "oneway.studies.celebrities",
    "chain": "oneway.studies.chain",
    "compiled": "oneway.studies.compiled",
    "default-model": "oneway.studies.default_model",
    "entries": "oneway.studies.entries",
    "fact-finding": "oneway.studies.fact_finding",
    "features": "oneway.studies.features",
    "gradients": "oneway.studies.gradients",
    "identities": "oneway.studies.identities",
    "identities-fine-tuned": "oneway.studies.identities_fine_tuned",
    "in-context": "oneway.studies.in_context",
    "instructions": "oneway.studies.instructions",
    "locality": "oneway.studies.locality",
    "memorisation": "oneway.studies.memorisation",
    "one-layer": "oneway.studies.one_layer",
    "orthogonality": "oneway.studies.orthogonality",
    "recovered": "oneway.studies.recovered",
    "related-tokens": "oneway.studies.related_tokens",
    "retrieve-then-reverse": "oneway.studies.retrieve_then_reverse",
    "remedies": "oneway.studies.remedies",
    "remedy-sensitivity": "oneway.studies.remedy_sensitivity",
    "reversal": "oneway.studies.reversal",
    "reversal-grid": "oneway.studies.reversal_grid",
    "rules-of-thumb": "oneway.studies.rules_of_thumb",
    "three-corner": "oneway.studies.three_corner",
    "weights": "oneway.studies.weights",
}


def load_study(name: str) -> Study[Any]:
    """The study of this name. Raises ValueError where there is none, with the names that there are."""
    if name not in STUDIES:
        raise ValueError(f"there is no study {name!r}; there are: {', '.join(sorted(STUDIES))}")
    study: Study[Any] = import_module(STUDIES[name]).STUDY
    return study
