"""Parts whose queries stand alike go through one kernel: a tile of queries walks over the keys of each in turn.

natural, residue classes, gathered columns  ->  (natural, gathered columns), (residue classes)
"""

from __future__ import annotations

from collections.abc import Sequence

from sparsec.plan.nodes import Columns, Natural, Part

Walk = tuple[Part, ...]


def walks(parts: Sequence[Part]) -> tuple[Walk, ...]:
    """The walks that forward and dq take over the parts of a choice, one after the other.

    Queries stand as they are in the natural order and beside gathered keys; a walk over both keeps its softmax in
    registers.  Scattered pairs have kernels of their own: these gather, and want other tiles.
    """
    joined = [part for part in parts if isinstance(part.layout, Natural | Columns)]
    joined.sort(key=lambda part: isinstance(part.layout, Columns))
    made: list[Walk] = []
    for part in parts:
        if part not in joined:
            made.append((part,))
        elif tuple(joined) not in made:
            made.append(tuple(joined))
    return tuple(made)
