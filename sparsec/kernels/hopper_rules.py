"""Which kernels run in the Hopper tier: what its tiles take of a processor, what it can do, and where it is faster.

All rules are here, in plain numbers: what launches kernels asks them (`sparsec.kernels.hopper_tier`), and so does
`sparsec cost`, without a GPU or torch (`sparsec.plan.tiers`).

What the tiles of a head size take, rounded up; registers are those of a thread that hold tiles, of so many that it has.
Of 256 the smallest tiles that are worth a product fit nowhere:

| head size | pass | queries | keys | stages | groups of warps | registers | shared memory |
|---|---|---|---|---|---|---|---|
| 64 | forward | 192 | 128 | 4 | 3 | 128 of 160 | 204,800 of 232,448 |
| 64 | backward | 128 | 128 | 2 | 2 | 224 of 240 | 198,656 of 232,448 |
| 128 | forward | 128 | 128 | 2 | 2 | 160 of 240 | 229,376 of 232,448 |
| 128 | backward | 64 | 128 | 3 | 2 | 224 of 240 | 230,912 of 232,448 |
| 256 | forward | 128 | 64 | 1 | 2 | 176 of 240 | 262,144 of 232,448 |
| 256 | backward | 64 | 128 | 1 | 2 | 384 of 240 | 295,424 of 232,448 |

SPARSEC_TIER=plain in the environment leaves the tier out, SPARSEC_TIER=hopper takes it whether it is faster or not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

TIER = "SPARSEC_TIER"
TIERS = "plain", "hopper"

CAPABILITY = 9, 0
TRITON = range(6, 10)  # 3.6 to 3.9: Gluon changes from one to the next
NEEDS_GPU, NEEDS_DRIVER, NEEDS_GLUON = "a GPU of capability 9.0", "a driver for CUDA 12", "Gluon of Triton 3.6 to 3.9"

# ---------------------------------------------------------------- what tiles take

SHARED = 232_448  # bytes that a program may have
REGISTERS = {2: 240, 3: 160}  # of a thread, by the groups of warps that compute; their tiles must leave room for others
LEFT = 16  # registers that a thread needs besides its tiles, at least
GROUP_ROWS = 64  # of a tile forward that a group of warps has


class HopperTiles(NamedTuple):
    """Tiles of the forward kernel."""

    rows: int  # of queries: 64 for each group of warps
    keys: int
    stages: int  # of keys and values, which shared memory holds beside queries and results

    @property
    def groups(self) -> int:
        """Of warps that compute."""
        return self.rows // GROUP_ROWS

    def registers(self, size: int) -> int:
        """Of a thread: scores and results in 32 bits, weights in 16.  A group has 128 threads."""
        return GROUP_ROWS * (4 * self.keys + 4 * size + 2 * self.keys) // (4 * 128)

    def shared(self, size: int) -> int:
        """Bytes of two tiles of queries, one of results, and the stages."""
        return 2 * size * (3 * self.rows + 2 * self.stages * self.keys)


class BackwardTiles(NamedTuple):
    """Tiles of the backward kernel; two groups of warps have half of the keys each."""

    queries: int
    keys: int
    stages: int  # of queries and their gradients, which shared memory holds beside one tile of keys and values

    @property
    def groups(self) -> int:
        """Of warps that compute."""
        return 2

    def registers(self, size: int) -> int:
        """Of a thread: dk and dv of its keys, half of dq, scores and their gradients of 64 queries at a time."""
        in_flight = 2 * self.queries  # those of the next 64 are made meanwhile
        return (self.keys // 2 * 2 * size + self.queries * size // 2 + self.keys // 2 * in_flight) // 128

    def shared(self, size: int) -> int:
        """Bytes: besides, log-sum-exps and deltas, gradients of scores of two steps, and half of dq for each group."""
        loaded = 4 * self.keys * size + self.stages * (4 * self.queries * size + 8 * self.queries)
        return loaded + 4 * self.keys * self.queries + 4 * self.queries * size


# By head size, rounded up: the best that were measured, or the smallest.
LISTED_SIZE = 128  # of heads whose steps may come from a list
HOPPER_TILES = {64: HopperTiles(192, 128, 4), 128: HopperTiles(128, 128, 2), 256: HopperTiles(128, 64, 1)}
BACKWARD_TILES = {64: BackwardTiles(128, 128, 2), 128: BackwardTiles(64, 128, 3), 256: BackwardTiles(64, 128, 1)}


def hopper_size(head_dim: int) -> int:
    """The head size that its tiles have."""
    return max(64, 1 << (head_dim - 1).bit_length())


def fits(size: int) -> bool:
    """Whether a processor has room for the tiles of a head size, forward and backward."""
    return all(
        tiles.shared(size) <= SHARED and tiles.registers(size) + LEFT <= REGISTERS[tiles.groups]
        for tiles in (HOPPER_TILES[size], BACKWARD_TILES[size])
    )


# ---------------------------------------------------------------- what is asked


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
        if self.backward or self.lines or self.score or self.size != LISTED_SIZE:
            return False
        return self.blocks if self.tables else self.from_list() <= _MOST_FROM_LIST

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

# What the tier can't do without, and why not where it is missing.
NEEDS = (
    Rule(NEEDS_GPU, lambda case: case.lacking != NEEDS_GPU),
    Rule(NEEDS_DRIVER, lambda case: case.lacking != NEEDS_DRIVER),
    Rule(NEEDS_GLUON, lambda case: case.lacking != NEEDS_GLUON),
    Rule("one pattern for all heads", lambda case: case.one_pattern, "backward"),
    Rule("one region", lambda case: case.one_region, "backward"),
    Rule("16-bit types", lambda case: case.dtype in ("float16", "bfloat16")),
    # Below, half of what products read would be zeros.
    Rule("a head size from 40 to 128", lambda case: case.head_dim > 32 and fits(case.size)),
    Rule("values of the head size of keys", lambda case: case.one_size),
    Rule("tensors that are not expanded", lambda case: not case.expanded),
    Rule("one softmax from start to end", lambda case: case.one_softmax),
    Rule("one region", lambda case: case.one_region, "forward"),
    Rule("positions as they are", lambda case: case.as_they_are),
    Rule("ranges of tiles", lambda case: case.ranges),
    Rule("no tables but of whole blocks", lambda case: not case.tables or case.in_blocks, "forward"),
    Rule("no tables", lambda case: not case.tables, "backward"),
    Rule("no data of the call", lambda case: not case.inputs),
    Rule("no dropout", lambda case: not case.dropout),
    Rule("sequences that are few for their tokens", lambda case: case.room <= _most_room(case), "backward"),
    Rule(f"at most {MOST_LISTED:,} tiles of pairs", lambda case: case.listed <= MOST_LISTED, "backward"),
    Rule(
        f"1 to {MOST_STEPS:,} tiles of pairs",
        lambda case: bool(case.lines) or 0 < case.steps(BACKWARD_TILES[case.size].queries) <= MOST_STEPS,
        "backward",
    ),
)

_MOST_FROM_LIST = 0.95  # a step from a list takes longer than one over ranges
_LEAST_KEYS = 2048  # below, making the descriptors takes longer than they save
# The share of steps that must go without a mask.  Forward at 64, exponentials are the limit, of either tier.
_LEAST_WHOLE = {64: 0.9, 128: 0.3}
_LEAST_WHOLE_BACKWARD = 0.3
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
        lambda case: case.block == 1 or not case.block % case.sizes.keys or case.in_blocks,
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
    Rule("a head size above 64", lambda case: case.head_dim > 64, "backward"),
    Rule("enough tiles without a mask", lambda case: case.whole() >= _LEAST_WHOLE[case.size], "forward"),
    Rule("enough tiles without a mask", lambda case: case.whole() >= _LEAST_WHOLE_BACKWARD, "backward"),
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
