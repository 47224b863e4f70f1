"""Offsets into a text and the protocol's positions: lines, and characters counted in units of an encoding."""

from __future__ import annotations

from bisect import bisect_right

_BYTES = {"utf-8": 1, "utf-16": 2, "utf-32": 4}  # of one unit


class Lines:
    """The lines of a text with `\\n` for `\\r\\n`; the protocol ends lines at lone carriage returns too."""

    def __init__(self, text: str, encoding: str = "utf-16") -> None:
        self.text, self.encoding = text, encoding
        self.starts = [0, *(i + 1 for i, character in enumerate(text) if character in "\n\r")]

    def position(self, offset: int) -> tuple[int, int]:
        """(line, character), both from 0."""
        line = bisect_right(self.starts, offset) - 1
        return line, self._units(self.text[self.starts[line] : offset])

    def offset(self, line: int, character: int) -> int:
        """The offset of a position; one beyond the text or its line is moved to the end of it."""
        if line >= len(self.starts):
            return len(self.text)
        start = self.starts[line]
        end = self.starts[line + 1] - 1 if line + 1 < len(self.starts) else len(self.text)
        for offset in range(start, end):
            if character <= 0:
                return offset
            character -= self._units(self.text[offset])
        return end

    def _units(self, text: str) -> int:
        return (
            len(text.encode(f"{self.encoding}-le" if self.encoding != "utf-8" else "utf-8", "surrogatepass"))
            // (_BYTES[self.encoding])
        )
