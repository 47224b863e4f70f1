"""What a pattern costs at one length, exactly: pairs, tiles, floating-point operations, bytes."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass

from sparsec.analysis.closed_form import closed_form
from sparsec.analysis.count import Tiles, count, tile_counts
from sparsec.analysis.numbers import Uncounted
from sparsec.ir import nodes as ir

_ELEMENT = 2  # bytes of fp16 and bf16
_LSE = 4


@dataclass(frozen=True, slots=True)
class ConditionCost:
    """One distinct condition of a pattern, for one of the `heads` heads that share it."""

    heads: int
    pairs: int | None  # None where counting takes too long
    closed_form: str | None
    tiles: Tiles | None


@dataclass(frozen=True, slots=True)
class Cost:
    """A pattern at n queries and n keys, over all heads.  Numbers are None where one of the counts is.

    Forward takes 4 * head_size operations a pair, backward 10; bytes are those of q, k, v, o in a 16-bit type and of
    the log-sum-exp, each moved once, with as many key heads as query heads.
    """

    name: str
    n: int
    heads: int
    head_size: int
    tile: tuple[int, int]
    conditions: tuple[ConditionCost, ...]
    complexity: str | None = None

    @property
    def pairs(self) -> int | None:
        """Kept pairs over all heads."""
        if any(part.pairs is None for part in self.conditions):
            return None
        return sum(part.heads * part.pairs for part in self.conditions)

    @property
    def tiles(self) -> Tiles | None:
        """Tiles over all heads."""
        if any(part.tiles is None for part in self.conditions):
            return None
        kinds = ("full", "partial", "empty")
        return Tiles(*(sum(part.heads * getattr(part.tiles, kind) for part in self.conditions) for kind in kinds))

    @property
    def density(self) -> float | None:
        """Pairs as a share of all n * n."""
        return None if self.pairs is None else self.pairs / (self.heads * self.n**2)

    @property
    def causal_density(self) -> float | None:
        """Pairs as a share of the n (n + 1) / 2 with k <= q; above 1 for patterns that look ahead far."""
        return None if self.pairs is None else self.pairs / (self.heads * self.n * (self.n + 1) / 2)

    @property
    def forward_flops(self) -> int | None:
        return None if self.pairs is None else 4 * self.head_size * self.pairs

    @property
    def backward_flops(self) -> int | None:
        return None if self.pairs is None else 10 * self.head_size * self.pairs

    @property
    def bytes(self) -> int:
        return self.heads * self.n * (4 * self.head_size * _ELEMENT + _LSE)

    @property
    def wasted(self) -> float | None:
        """The share of the area of visited tiles that holds no pair; 0 for a pattern without pairs."""
        if self.tiles is None or self.pairs is None:
            return None
        area = self.tiles.visited * self.tile[0] * self.tile[1]
        return 1 - self.pairs / area if area else 0.0

    def to_json(self) -> dict:
        """Everything as plain data."""
        derived = ("pairs", "density", "causal_density", "forward_flops", "backward_flops", "bytes", "wasted")
        tiles = self.tiles and asdict(self.tiles)
        return asdict(self) | {name: getattr(self, name) for name in derived} | {"tiles": tiles}


def cost(
    pattern: ir.Pattern,
    n: int,
    tile: tuple[int, int] = (64, 64),
    head_size: int = 128,
    heads: int | None = None,
    complexity: str | None = None,
) -> Cost:
    """The cost of a pattern; `heads` (by default 1) only counts where the pattern itself is bound to none."""
    heads = pattern.heads or heads or 1
    sharing = Counter(pattern.head_conditions or [0] * heads)
    parts = tuple(_condition(pattern.conditions[index], number, n, tile) for index, number in sorted(sharing.items()))
    return Cost(pattern.name, n, heads, head_size, tile, parts, complexity)


def _condition(condition: ir.Set, heads: int, n: int, tile: tuple[int, int]) -> ConditionCost:
    form = closed_form(condition)
    text = form and form.text
    try:
        pairs = count(condition, n)
    except Uncounted:
        return ConditionCost(heads, None, text, None)
    try:
        return ConditionCost(heads, pairs, text, tile_counts(condition, n, tile))
    except Uncounted:
        return ConditionCost(heads, pairs, text, None)
