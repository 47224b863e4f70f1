"""Pictures of plain ASCII characters: for pipes, logs and the header of generated files."""

from __future__ import annotations

import numpy as np

from sparsec.ir.nodes import Set
from sparsec.show.raster import Raster, raster

LEGEND = "# every pair of the cell, + some, . none"
OVER_RANKS = "# pairs with a rank's own keys, x with those of other ranks, + both, . none"
COMPARED = "< some pair of the cell only in the first, > only in the second, x both of these, = in both, . none"


def picture(condition: Set, n: int, width: int = 32) -> str:
    """`width` x `width // 2` characters, queries down and keys across, of the condition at n keys and n queries."""
    return "\n".join(characters(raster((condition,), n, max(1, width // 2), width)))


def characters(cells: Raster, over_ranks: bool = False) -> list[str]:
    """One string a row of cells, in the characters of LEGEND, of COMPARED, or of OVER_RANKS."""
    if over_ranks:
        own, away = cells.kept > 0
        drawn = np.select([own & away, own, away], ["+", "#", "x"], ".")
    elif cells.compared:
        first, second, both = cells.kept > 0
        drawn = np.select([first & second, first, second, both], ["x", "<", ">", "="], ".")
    else:
        shares = cells.shares
        drawn = np.where(shares == 1, "#", np.where(shares > 0, "+", "."))
    return ["".join(row) for row in drawn]
