"""Why a table is not compiled: every reason at once, each with what would do."""

from collections.abc import Iterable

SHOWN = 50


class CompileError(ValueError):
    """A table or a size from which no circuit can be made. `reasons` holds all, the message the first 50."""

    def __init__(self, reasons: Iterable[str]) -> None:
        self.reasons = tuple(reasons)
        count = len(self.reasons)
        lines = [
            f"{count:,} reason{'' if count == 1 else 's'} why this cannot be compiled; nothing was written:"
        ]
        lines += [f"  {reason}" for reason in self.reasons[:SHOWN]]
        if count > SHOWN:
            lines.append(f"  … and {count - SHOWN:,} more")
        super().__init__("\n".join(lines))
