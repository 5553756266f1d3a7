"""The residual stream as named subspaces, side by side along d_model."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Span:
    """Dimensions `start` … `start + width − 1` of the residual stream."""

    start: int
    width: int

    @property
    def slice(self) -> slice:
        return slice(self.start, self.start + self.width)

    def dim(self, index: int) -> int:
        """One of its dimensions, counted along d_model."""
        if not 0 <= index < self.width:
            raise IndexError(f"dimension {index} of a subspace of {self.width}")
        return self.start + index


@dataclass(slots=True)
class Residual:
    """Subspaces in the order in which they were laid down; `width` is what they need together."""

    spans: dict[str, Span] = field(default_factory=dict)

    @property
    def width(self) -> int:
        return sum(span.width for span in self.spans.values())

    def lay(self, name: str, width: int) -> Span:
        """A new subspace behind the others. Raises ValueError for a name that is taken."""
        if name in self.spans:
            raise ValueError(f"there is a subspace {name!r} already")
        span = self.spans[name] = Span(self.width, width)
        return span

    def __getitem__(self, name: str) -> Span:
        return self.spans[name]

    def __contains__(self, name: str) -> bool:
        return name in self.spans
