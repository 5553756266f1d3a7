"""oneway: a laboratory for one-way memory.

`oneway.audit(model, facts)`, `oneway.augment(facts, out, remedy=…)`, `oneway.check(model)`, `oneway.compare(before,
after)`, `oneway.compile(facts, out)`, `oneway.dissect(model, facts)`, `oneway.grade(found, circuit)`,
`oneway.repair(model, facts, remedy=…, out=…)`, `oneway.run(study)`, `oneway.train(facts, out)` and `oneway.demo()` do
what the commands of these names do, `oneway.grow(out)` what `oneway train --world athletes` does, and
`oneway.write_report(runs, out)` what `oneway report` does (`oneway.report` is the package).
Torch is imported when one of them is called.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oneway.api import (
        audit,
        augment,
        check,
        compare,
        compile,
        demo,
        dissect,
        grade,
        grow,
        repair,
        run,
        train,
        write_report,
    )

__version__ = "0.1.0"
__all__ = [
    "audit",
    "augment",
    "check",
    "compare",
    "compile",
    "demo",
    "dissect",
    "grade",
    "grow",
    "repair",
    "run",
    "train",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from oneway import api

        return getattr(api, name)
    raise AttributeError(f"module 'oneway' has no attribute {name!r}")
