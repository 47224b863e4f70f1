"""Words as pixels, for pictures that are made without a font on the machine.

`font.bin` is zlib-compressed: the widths of the characters from space to ~, a byte each, then their pictures, HIGH
rows of WIDE pixels, two pixels a byte, from 0 for nothing to 15 for ink.  They were drawn once from the free font
DejaVu Sans at 23 pixels.
"""

from __future__ import annotations

import zlib
from functools import cache
from importlib.resources import files

import numpy as np

HIGH, WIDE, BASE = 28, 24, 22  # pixels of a character, and the row of its base line
_FIRST, _LAST = 32, 126


def drawn(text: str) -> np.ndarray:
    """How much of each pixel is ink, float64 [HIGH, columns] from 0 to 1; unknown characters are question marks."""
    widths, pictures = _font()
    codes = [ord(c) - _FIRST if _FIRST <= ord(c) <= _LAST else ord("?") - _FIRST for c in text]
    image, x = np.zeros((HIGH, int(sum(widths[code] for code in codes)) + WIDE)), 0
    for code in codes:
        place = image[:, x : x + WIDE]
        place[:] = np.maximum(place, pictures[code])
        x += int(widths[code])
    return image[:, :x]


@cache
def _font() -> tuple[np.ndarray, np.ndarray]:
    """Widths, and pictures [characters, HIGH, WIDE]."""
    data = zlib.decompress(files("sparsec.show").joinpath("font.bin").read_bytes())
    count = _LAST - _FIRST + 1
    packed = np.frombuffer(data, np.uint8, offset=count).reshape(count, HIGH, WIDE // 2)
    widths = np.frombuffer(data, np.uint8, count).astype(np.int64)
    return widths, np.stack([packed >> 4, packed & 15], -1).reshape(-1, HIGH, WIDE) / 15
