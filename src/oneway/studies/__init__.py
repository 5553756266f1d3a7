"""One file per claim family. A study is found by its name; none is imported before it is asked for."""

from importlib import import_module
from typing import Any

from oneway.evidence.study import Study

STUDIES = {"reversal": "oneway.studies.reversal"}


def load_study(name: str) -> Study[Any]:
    """The study of this name. Raises ValueError where there is none, with the names that there are."""
    if name not in STUDIES:
        raise ValueError(f"there is no study {name!r}; there are: {', '.join(sorted(STUDIES))}")
    study: Study[Any] = import_module(STUDIES[name]).STUDY
    return study
