"""What a pattern costs at one length, exactly: pairs, tiles, floating-point operations, bytes."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace

from sparsec.analysis.closed_form import closed_form
from sparsec.analysis.count import Tiles, count, tile_counts
from sparsec.analysis.numbers import Uncounted
from sparsec.analysis.score_gradient import gradient
from sparsec.ir import nodes as ir
from sparsec.ir.scores import Real, operations
from sparsec.ir.shape import apart
from sparsec.sets import budgets
from sparsec.sets.context import allowance

_ELEMENT = 2  # bytes of fp16 and bf16
_LSE = 4
_REAL = 4


@dataclass(frozen=True, slots=True)
class ConditionCost:
    """One distinct condition of a pattern, for one of the `heads` heads that share it."""

    heads: int
    pairs: int | None  # None where counting takes too long
    closed_form: str | None  # of self-attention; None for other calls and where there is none
    tiles: Tiles | None
    score: tuple[int, int] = (0, 0)  # operations of a pair: of its score, and of the derivative


@dataclass(frozen=True, slots=True)
class Cost:
    """A pattern at some queries and n keys, over all heads.  Numbers are None where one of the counts is.

    Forward takes 4 * head_size operations a pair, backward 10; bytes are those of q, k, v, o in a 16-bit type and of
    the log-sum-exp, each moved once, with as many key heads as query heads.  Backward moves q, k, v, o, dq, dk, dv and
    do, and the log-sum-exp.
    """

    name: str
    n: int
    queries: range
    heads: int
    head_size: int
    tile: tuple[int, int]
    conditions: tuple[ConditionCost, ...]
    complexity: str | None = None
    tile_sizes: tuple[tuple[int, float | None], ...] = ()  # (side of a square tile, share of work wasted with it)
    pair_bytes: int = 0  # of inputs that have a number for each query and key, in float32

    @property
    def pairs(self) -> int | None:
        """Kept pairs over all heads."""
        known = [part.heads * part.pairs for part in self.conditions if part.pairs is not None]
        return sum(known) if len(known) == len(self.conditions) else None

    @property
    def tiles(self) -> Tiles | None:
        """Tiles over all heads."""
        return _summed([(part.heads, part.tiles) for part in self.conditions])

    @property
    def density(self) -> float | None:
        """Pairs as a share of all n_q * n."""
        return None if self.pairs is None else self.pairs / (self.heads * len(self.queries) * self.n)

    @property
    def causal_density(self) -> float | None:
        """Pairs as a share of those with k <= q; above 1 for patterns that look ahead far, None where there are none.

        At self-attention these are n (n + 1) / 2.
        """
        all_causal = _causal(self.queries, self.n)
        return None if self.pairs is None or not all_causal else self.pairs / (self.heads * all_causal)

    @property
    def square(self) -> bool:
        """Whether it is self-attention: the queries are the positions of the keys."""
        return self.queries == range(self.n)

    @property
    def forward_flops(self) -> int | None:
        return None if self.pairs is None else 4 * self.head_size * self.pairs

    @property
    def backward_flops(self) -> int | None:
        return None if self.pairs is None else 10 * self.head_size * self.pairs

    @property
    def score_flops(self) -> tuple[int, int] | None:
        """Operations of scores beside those of products, forward and backward; an operation is one, also a tanh."""
        if self.pairs is None:
            return None
        pairs = [part.heads * (part.pairs or 0) for part in self.conditions]
        forward = sum(each * part.score[0] for each, part in zip(pairs, self.conditions, strict=True))
        return forward, sum(each * sum(part.score) for each, part in zip(pairs, self.conditions, strict=True))

    @property
    def bytes(self) -> int:
        rows = 2 * (len(self.queries) + self.n) * self.head_size * _ELEMENT
        return self.heads * (rows + len(self.queries) * _LSE)

    @property
    def backward_bytes(self) -> int:
        rows = 4 * (len(self.queries) + self.n) * self.head_size * _ELEMENT
        return self.heads * (rows + len(self.queries) * _LSE)

    @property
    def wasted(self) -> float | None:
        """The share of the area of visited tiles that holds no pair; 0 for a pattern without pairs."""
        return _wasted(self.pairs, self.tiles, self.tile)

    def to_json(self) -> dict:
        """Everything as plain data."""
        derived: tuple[str, ...] = (
            "pairs",
            "density",
            "causal_density",
            "forward_flops",
            "backward_flops",
            "bytes",
            "backward_bytes",
        )
        derived += ("score_flops",) if any(any(part.score) for part in self.conditions) else ()
        plain = {name: getattr(self, name) for name in (*derived, "wasted")}
        call = {"n_q": len(self.queries), "q_offset": self.queries.start}
        tiles = {"tiles": self.tiles and asdict(self.tiles), "tile_sizes": dict(self.tile_sizes)}
        own = {name: value for name, value in asdict(self).items() if name != "queries"}
        return own | call | plain | tiles


def cost(
    pattern: ir.Pattern,
    n: int,
    tile: tuple[int, int] = (64, 64),
    head_size: int = 128,
    heads: int | None = None,
    complexity: str | None = None,
    tile_sizes: tuple[int, ...] = (),
    queries: range | None = None,
) -> Cost:
    """The cost of a pattern; `heads` (by default 1) only counts where the pattern itself is bound to none.

    `queries` are the positions of the queries, by default those of the keys.
    What is wasted is also told for square tiles of the sides `tile_sizes`.
    """
    queries = range(n) if queries is None else queries
    heads = pattern.heads or heads or 1
    sharing = Counter(pattern.head_conditions or [0] * heads)
    with allowance(budgets.COST):
        formless: set[ir.Set] = set()
        parts = tuple(
            _with_score(_condition(pattern.conditions[index], number, n, tile, queries, formless), pattern.score(index))
            for index, number in sorted(sharing.items())
        )
        found = Cost(pattern.name, n, queries, heads, head_size, tile, parts, complexity)
        shares = tuple((side, _wasted_by(found, pattern, sharing, side)) for side in tile_sizes)
    return replace(found, tile_sizes=shares, pair_bytes=_pair_bytes(pattern, n, heads))


def _pair_bytes(pattern: ir.Pattern, n: int, heads: int) -> int:
    """Of one row of the batch."""
    of_pairs = [each for each in pattern.score_inputs if each.of_pairs]
    return sum(_REAL * n * n * (heads if "H" in each.axes else 1) for each in of_pairs)


def _with_score(part: ConditionCost, score: Real | None) -> ConditionCost:
    if score is None:
        return part
    return replace(part, score=(operations(score), operations(gradient(score))))


def _wasted_by(found: Cost, pattern: ir.Pattern, sharing: Counter[int], side: int) -> float | None:
    tile = side, side
    if found.tile == tile or found.wasted is None:
        return found.wasted
    counts = [
        (heads, _counted(pattern.conditions[index], found.n, tile, found.queries)) for index, heads in sharing.items()
    ]
    return _wasted(found.pairs, _summed(counts), tile)


def _counted(condition: ir.Set, n: int, tile: tuple[int, int], queries: range) -> Tiles | None:
    try:
        return tile_counts(condition, n, tile, queries)
    except Uncounted:
        return None


def _summed(counts: list[tuple[int, Tiles | None]]) -> Tiles | None:
    """Tiles over all heads, from (heads, tiles of one of them)."""
    if any(tiles is None for _, tiles in counts):
        return None
    kinds = ("full", "partial", "empty")
    return Tiles(*(sum(heads * getattr(tiles, kind) for heads, tiles in counts) for kind in kinds))


def _wasted(pairs: int | None, tiles: Tiles | None, tile: tuple[int, int]) -> float | None:
    if tiles is None or pairs is None:
        return None
    area = tiles.visited * tile[0] * tile[1]
    return 1 - pairs / area if area else 0.0


def _causal(queries: range, n: int) -> int:
    """Pairs with 0 <= k <= q and k < n."""
    first, beyond = max(queries.start, 0), max(queries.stop, 0)
    among = range(min(first, n), min(beyond, n))
    return sum((among.start + 1, among.stop)) * len(among) // 2 + n * (beyond - first - len(among))


def _condition(
    condition: ir.Set, heads: int, n: int, tile: tuple[int, int], queries: range, formless: set[ir.Set]
) -> ConditionCost:
    """`formless` has the shapes of conditions for which no formula was found: those of other heads have none either."""
    form = None
    if queries == range(n) and (shape := apart(condition)[0]) not in formless:
        form = closed_form(condition)
        if form is None:
            formless.add(shape)
    text = form.text if form else None
    try:
        pairs = form(n) if form else count(condition, n, queries)
    except Uncounted:
        return ConditionCost(heads, None, text, None)
    return ConditionCost(heads, pairs, text, _counted(condition, n, tile, queries))
