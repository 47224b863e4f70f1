"""Pictures of coloured half-blocks: two cells of one column share a character, so cells come out square."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

import numpy as np

from sparsec.show.raster import Raster
from sparsec.terminal import coloured, forced

# Okabe and Ito's colours, which colour-blind readers can tell apart.
PALETTE = np.array(
    [(86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (240, 228, 66), (0, 114, 178), (213, 94, 0)]
)
EMPTY = np.array((38, 38, 42))
RESET = "\x1b[0m"


def supported(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether the stream gets colours, knows half-blocks, and says that it knows truecolour, if nobody insists."""
    return (
        coloured(stream, environment)
        and (forced(environment) or environment.get("COLORTERM") in ("truecolor", "24bit"))
        and (stream.encoding or "").lower().startswith("utf")
    )


def half_blocks(cells: Raster) -> list[str]:
    """One string for each two rows of cells: the upper cell is the foreground, the lower the background."""
    rows = pixels(cells)
    if len(rows) % 2:
        rows = np.concatenate([rows, np.broadcast_to(EMPTY, (1, *rows.shape[1:]))])
    return ["".join(map(_character, upper, lower)) + RESET for upper, lower in zip(rows[::2], rows[1::2], strict=True)]


def swatch(part: int) -> str:
    """A legend's block in the colour of an operand."""
    red, green, blue = PALETTE[part % len(PALETTE)]
    return f"\x1b[38;2;{red};{green};{blue}m██{RESET}"


def pixels(cells: Raster) -> np.ndarray:
    """int64 [rows, columns, 3]: the owner's colour, darker the fewer pairs are kept, but never lost in the ground."""
    strength = np.where(cells.shares > 0, 0.4 + 0.6 * cells.shares, 0.0)[..., None]
    hue = PALETTE[cells.owners % len(PALETTE)]
    return np.rint(EMPTY + (hue - EMPTY) * strength).astype(np.int64)


def _character(upper: np.ndarray, lower: np.ndarray) -> str:
    return "\x1b[38;2;{};{};{};48;2;{};{};{}m▀".format(*upper, *lower)
