"""Which kernels run in the Hopper tier: what it can do, and where it is faster.

All rules are here, in plain numbers: what launches kernels asks them (`sparsec.kernels.hopper.tier`), and so does
`sparsec cost`, without a GPU or torch (`sparsec.plan.tiers`).

SPARSEC_TIER=plain in the environment leaves the tier out, SPARSEC_TIER=hopper takes it whether it is faster or not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from sparsec.kernels.hopper.resources import BACKWARD_TILES, GROUP_ROWS, HOPPER_TILES, HopperTiles, fits, hopper_size

TIER = "SPARSEC_TIER"
TIERS = "plain", "hopper"

CAPABILITY = 9, 0
TRITON = range(6, 10)  # 3.6 to 3.9: Gluon changes from one to the next
NEEDS_GPU, NEEDS_DRIVER, NEEDS_GLUON = "a GPU of capability 9.0", "a driver for CUDA 12", "Gluon of Triton 3.6 to 3.9"


class HopperCase(NamedTuple):
    """A kernel of a plan and what it is launched on, in plain numbers."""

    backward: bool  # gradients of a pass are all made there, by one kernel, or none is
    lacking: str  # what the machine lacks, "": nothing
    processors: int
    dtype: str  # "bfloat16", ..
    head_dim: int
    batch: int
    heads: int
    n_q: int
    n: int  # keys
    lines: int = 0  # of the table of sequences; 0: each row of the batch is one
    room: int = 0  # of these, how many tiles of queries and how many steps there are at most
    listed: int = 0
    dropout: bool = False
    one_size: bool = True  # whether values have the head size of keys
    expanded: bool = False  # whether a tensor has a stride of 0
    one_pattern: bool = True  # whether all heads have the same
    one_region: bool = True
    one_softmax: bool = True  # whether no other kernel begins or ends it
    as_they_are: bool = True  # positions: neither in residue classes nor gathered nor in groups
    ranges: bool = True  # whether all tiles come from these, and none from a list
    tables: bool = False
    blocks: bool = False  # whether all it visits are aligned blocks of 64 queries and keys, all of whose pairs are kept
    inputs: bool = False  # whether masks or scores read data of the call
    block: int = 1  # tiles within aligned blocks of so many positions need no mask
    split_prefix: int = 0  # rows (or keys) below it visit far more than others
    score: bool = False
    slope: bool = False  # whether a score is more than the product and what is added to it
    most: float | None = None  # what no score is above; None: nobody knows a bound
    # How many steps a group of warps has where they come from a list of blocks of 64 keys, as a share of those over
    # ranges of tiles; the share of steps that go without a mask; and how many steps there are of tiles of so many
    # queries.  These are asked last.
    from_list: Callable[[], float] = lambda: 1.0
    whole: Callable[[], float] = lambda: 1.0
    steps: Callable[[int], int] = lambda queries: 1

    @property
    def tiles(self) -> int:
        """Of queries, of all heads, forward."""
        return _cdiv(self.n_q, self.sizes.rows) * self.batch * self.heads

    @property
    def size(self) -> int:
        """Its head size, rounded up."""
        return hopper_size(self.head_dim)

    @property
    def sizes(self) -> HopperTiles:
        """Of its tiles forward."""
        return HOPPER_TILES[self.size]

    @property
    def in_blocks(self) -> bool:
        """Whether steps come from a list of blocks: where tables name some, and where there are fewer then."""
        if self.backward or self.lines or self.score or self.size != _LISTED_SIZE:
            return False
        if self.tables:
            return self.blocks
        return self.from_list() <= _MOST_FROM_LIST + (_MORE_FROM_LIST if self.split_prefix else 0)

    @property
    def bounded(self) -> bool:
        """Whether scores are so small that a softmax needs no maximum: neither weights overflow nor sums of them.

        float16 has too few exponents for that.
        """
        return is_bounded(self.most, self.dtype)


def is_bounded(most: float | None, dtype: str) -> bool:
    """As `HopperCase.bounded`."""
    return most is not None and most <= _MOST_UNSHIFTED and dtype == "bfloat16"


class Rule(NamedTuple):
    """What a kernel needs."""

    what: str
    holds: Callable[[HopperCase], bool]
    passes: str = "both"  # or "forward", "backward"

    def asked(self, case: HopperCase) -> bool:
        """Whether it is about this pass."""
        return self.passes in ("both", "backward" if case.backward else "forward")


_MOST_UNSHIFTED = 60.0  # of scores whose weights are exp(score) as it is, up to 2**87
MOST_STEPS = 1 << 22  # of a head
MOST_LISTED = 1 << 24  # of the sequences of a call: how many there may be, which the host does not know
_MOST_ROOM, _LEAST_ROOM = 4, 256  # tiles of queries that sums of several sequences have room for, of those of one

HEAD_SIZES, BACKWARD_HEAD_SIZES = "a head size from 40 to 256", "a head size from 40 to 128"

# What the tier can't do without, and why not where it is missing.
NEEDS = (
    Rule(NEEDS_GPU, lambda case: case.lacking != NEEDS_GPU),
    Rule(NEEDS_DRIVER, lambda case: case.lacking != NEEDS_DRIVER),
    Rule(NEEDS_GLUON, lambda case: case.lacking != NEEDS_GLUON),
    Rule("one pattern for all heads", lambda case: case.one_pattern, "backward"),
    Rule("one region", lambda case: case.one_region, "backward"),
    Rule("16-bit types", lambda case: case.dtype in ("float16", "bfloat16")),
    # Below, half of what products read would be zeros.
    Rule(HEAD_SIZES, lambda case: case.head_dim > 32 and fits(case.size, False), "forward"),
    Rule(BACKWARD_HEAD_SIZES, lambda case: case.head_dim > 32 and fits(case.size, True), "backward"),
    Rule("values of the head size of keys", lambda case: case.one_size),
    Rule("tensors that are not expanded", lambda case: not case.expanded),
    Rule("one softmax from start to end", lambda case: case.one_softmax),
    Rule("one region", lambda case: case.one_region, "forward"),
    Rule("positions as they are", lambda case: case.as_they_are),
    Rule("ranges of tiles", lambda case: case.ranges),
    Rule("no tables but of whole blocks", lambda case: not case.tables or case.in_blocks, "forward"),
    Rule("no tables", lambda case: not case.tables, "backward"),
    Rule("no data of the call", lambda case: not case.inputs),
    Rule("sequences that are few for their tokens", lambda case: case.room <= _most_room(case), "backward"),
    Rule(f"at most {MOST_LISTED:,} tiles of pairs", lambda case: case.listed <= MOST_LISTED, "backward"),
    Rule(
        f"1 to {MOST_STEPS:,} tiles of pairs",
        lambda case: bool(case.lines) or 0 < case.steps(BACKWARD_TILES[case.size].queries) <= MOST_STEPS,
        "backward",
    ),
)

_LISTED_SIZE = 128  # of heads whose steps may come from a list
_MOST_FROM_LIST = 0.88  # a step from a list takes some 1.14 times as long as one over ranges
_MORE_FROM_LIST = 0.04  # with queries that see far more keys: over ranges, half of their tile has nothing to do
_LEAST_KEYS = 2048  # below, making the descriptors takes longer than they save
# The share of steps that must go without a mask.  At 64, exponentials are the limit of either tier, and a tile of 192
# queries has more masked steps than the plain tier's.
_LEAST_WHOLE = {64: 0.87, 128: 0.3, 256: 0.3}
_LEAST_TOKENS = 512  # of a sequence, the mean over the lines of the table: shorter ones have mostly ragged tiles
PROCESSORS_BUSY = "a tile for three of four processors"

# Where it is faster than the plain tier, as measured (docs/architecture.md has the figures).
FASTER_WITH = (
    Rule("2,048 keys", lambda case: case.n >= _LEAST_KEYS),
    Rule("64 queries", lambda case: case.n_q >= GROUP_ROWS),
    Rule("2,048 queries", lambda case: case.n_q >= _LEAST_KEYS, "backward"),
    Rule(PROCESSORS_BUSY, lambda case: 4 * case.tiles >= 3 * case.processors),
    Rule(
        "blocks of whole tiles, if any",
        # Tiles of the plain tier are such blocks, too: without tables and such rows they were faster.
        lambda case: (
            case.block == 1
            or not case.block % case.sizes.keys
            or (bool(case.tables or case.split_prefix) and case.in_blocks)
        ),
    ),
    Rule("sequences of 512 tokens", lambda case: case.batch * case.n_q >= _LEAST_TOKENS * case.lines),
    # Of the tile of such queries, half of the rows have nothing to do at most steps, but of those from a list.
    Rule("no queries that see far more keys", lambda case: not case.split_prefix or case.in_blocks, "forward"),
    # Of one sequence alone such keys come in parts.
    Rule(
        "no keys that far more queries see, of several sequences",
        lambda case: not (case.lines and case.split_prefix),
        "backward",
    ),
    # Functions such as tanh take registers that the products in flight have, and time that a maximum leaves.
    Rule(
        "a score that adds to products or is bounded, if any",
        lambda case: not case.score or not case.slope or case.bounded,
        "forward",
    ),
    # Three groups of warps have more code together, and the time for it is that of the exponentials already.
    Rule("no dropout of heads up to 64", lambda case: not case.dropout or case.size > 64, "forward"),
    # Not measured.
    Rule("a head size above 64, of several sequences", lambda case: not case.lines or case.head_dim > 64, "backward"),
    Rule("enough tiles without a mask", lambda case: case.whole() >= _LEAST_WHOLE[case.size]),
)


def lacks(case: HopperCase) -> str:
    """What a kernel would need to run in the tier; "" where it can."""
    return next((rule.what for rule in NEEDS if rule.asked(case) and not rule.holds(case)), "")


def slower_without(case: HopperCase) -> str:
    """What a kernel that can run there would need to be faster there; "" where it is."""
    return next((rule.what for rule in FASTER_WITH if rule.asked(case) and not rule.holds(case)), "")


def runs_there(case: HopperCase) -> bool:
    """Whether a kernel runs in the tier, as the environment wants it."""
    wanted = wanted_tier()
    return wanted != "plain" and not lacks(case) and (wanted == "hopper" or not slower_without(case))


def wanted_tier() -> str:
    """What SPARSEC_TIER says: "plain", "hopper", or "" for the faster one.  ValueError for anything else."""
    wanted = os.environ.get(TIER, "")
    if wanted not in ("", *TIERS):
        raise ValueError(f"[SP0708] {TIER} must be {' or '.join(TIERS)}, or not be set; got {wanted!r}")
    return wanted


def _most_room(case: HopperCase) -> int:
    """Tiles of queries that sums of dq may have room for: as many more than those of one sequence."""
    return _MOST_ROOM * _cdiv(case.batch * case.n_q, BACKWARD_TILES[case.size].queries) + _LEAST_ROOM


def _cdiv(x: int, y: int) -> int:
    return -(-x // y)
