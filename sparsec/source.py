"""Texts and places in them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Source:
    """A text and the name that messages call it by: a path, or something like `<text>`.

    Messages show no words of a text that is not `quotable`: it may be a file that its reader would not show around.
    """

    name: str
    text: str = field(repr=False)
    quotable: bool = True

    def position(self, offset: int) -> tuple[int, int]:
        """(line, column) of a character offset, both counted from 1."""
        before = self.text.rfind("\n", 0, offset) + 1
        return self.text.count("\n", 0, offset) + 1, offset - before + 1

    def span(self, start: int, end: int) -> Span:
        return Span(self, start, end)


@dataclass(frozen=True, slots=True)
class Span:
    """Characters [start, end) of a source."""

    source: Source
    start: int
    end: int

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        return self.source.position(self.start)[1]

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    @property
    def brief(self) -> str:
        """The text in one line of at most 60 characters, for a message."""
        words = " ".join(self.text.split())
        return words if len(words) <= 60 else words[:57] + "..."
