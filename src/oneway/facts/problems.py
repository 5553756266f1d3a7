"""What is wrong in a file of facts: all of it at once, each with file, line and reason."""

from collections.abc import Iterable
from dataclasses import dataclass

SHOWN = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file; `line` counts from 1."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


class FactErrors(ValueError):
    """A file of facts that cannot be used. `problems` holds all of them, the message the first 20."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        count = len(self.problems)
        lines = [f"{count} problem{'' if count == 1 else 's'} in the facts; nothing was read:"]
        lines += [f"  {problem}" for problem in self.problems[:SHOWN]]
        if count > SHOWN:
            lines.append(f"  … and {count - SHOWN} more")
        super().__init__("\n".join(lines))


class RelationsMissing(ValueError):
    """A table whose relations have no templates. `stub` is a TOML ready to fill; so is the message."""

    def __init__(self, file: str, stub: str) -> None:
        self.stub = stub
        super().__init__(
            f"# {file} says which facts there are, not how they are put into words.\n"
            f"# Fill in the templates below, save them as a .toml file and give it as the relations.\n{stub}"
        )
