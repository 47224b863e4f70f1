"""Query heads that share a key head as rows side by side, where data chooses for few queries at a time.

Tiles of queries visit what any of their queries chose.  Heads that share a key head, and choose alike, fill a tile with
fewer queries, which chose fewer blocks: 16 heads of 4 queries in the place of 64 queries.  Row i of Q is then head
i % R of query i // R, R being ROWS_OF_QUERY in kernels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from sparsec.kernels.launches.stages import packs
from sparsec.kernels.machine.memory import empty_as, in_pieces
from sparsec.kernels.program.program import Program

_MOST_ROWS = 16  # the shortest tile
_FEW_QUERIES = 64  # queries that choose together, below which tiles hold several choices


def rows_of_query(program: Program, q: Tensor, k: Tensor, inputs: Sequence[Tensor]) -> int:
    """How many heads stand side by side in a call: all that share a key head or, of many, some of these; or 1."""
    group = q.shape[1] // k.shape[1]
    few = any(own.is_chosen and own.sizes[0] < _FEW_QUERIES for own in program.inputs)
    if not few or program.by_head:
        return 1
    variant = program.groups[0].at(k.shape[2])
    fits = packs(variant) and all(region.answers.judge and region.stride == 1 for region in variant.regions)
    fits = fits and not any(kernel.split_prefix for kernel in variant.kernels)
    fits = fits and not any(region.score for region in variant.regions)  # which ask for the head of a tile
    return math.gcd(group, _MOST_ROWS) if fits and all(x.shape[1] in (1, k.shape[1]) for x in inputs) else 1


def as_rows(x: Tensor, rows: int) -> Tensor:
    """x [B, H, n_q, ..] as [B, H / rows, n_q * rows, ..]."""
    if rows == 1:
        return x
    own = in_pieces(x) if x.dim() > 3 else x
    return own.unflatten(1, (-1, rows)).transpose(2, 3).flatten(2, 3).view(x.dtype)


def as_heads(x: Tensor, like: Tensor, rows: int) -> Tensor:
    """The inverse, lying as a tensor of that shape does."""
    if rows == 1:
        return x
    of_rows = x.dim() < like.dim()
    found = x.new_empty(like.shape[:3]) if of_rows else empty_as(like, x.shape[3])
    into, own = (found, x) if of_rows else (in_pieces(found), in_pieces(x))
    into.unflatten(1, (-1, rows)).copy_(own.unflatten(2, (-1, rows)).transpose(2, 3))
    return found
