"""Which kernels run in the Hopper tier: the one place that decides it, before anything is compiled.

A forward kernel of the plan runs there if nothing in `_NEEDS` stands against it, and if it is worth it; all others run
in the plain tier.  The gradients of a pass are all made there, by one kernel, or none is.

SPARSEC_TIER=plain in the environment leaves the tier out, SPARSEC_TIER=hopper takes it whether it is worth it or not.
It is read when a pass is prepared, at the first call of its shapes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import NamedTuple

import torch

from sparsec.kernels.device import triton
from sparsec.kernels.hardware import capability, processors
from sparsec.kernels.hopper import GluonDescriptor
from sparsec.kernels.hopper_backward_steps import (
    MOST_LISTED,
    MOST_STEPS,
    STEP_KEYS,
    STEP_QUERIES,
    count_steps,
    in_whole_blocks,
    listed_steps,
)
from sparsec.kernels.hopper_blocks import has_no_score, share_of_listed
from sparsec.kernels.launch import Meta, Pass
from sparsec.kernels.program import Group, Kernel, Variant, cdiv
from sparsec.kernels.sequence_tiles import most_tiles
from sparsec.kernels.settings import TMA_LENGTH
from sparsec.kernels.stages import variant_of

TIER = "SPARSEC_TIER"
_TIERS = "plain", "hopper"
_SAMPLES = 16
_TRITON = range(6, 10)  # 3.6 to 3.9: Gluon changes from one to the next
_CAPABILITY = 9, 0
_GPU, _GLUON = "a GPU of capability 9.0", "Gluon of Triton 3.6 to 3.9"

GROUP_ROWS = 64  # of a tile forward that a group of warps has


class HopperTiles(NamedTuple):
    """Tiles of the forward kernel."""

    rows: int  # of queries: 64 for each group of warps
    keys: int
    stages: int  # of keys and values, which shared memory holds beside queries and results


# By head size, rounded up.
HOPPER_TILES = {64: HopperTiles(192, 128, 4), 128: HopperTiles(128, 128, 2)}
# The share of steps that must go without a mask.  At 64, exponentials are the limit, of either tier.
_LEAST_WHOLE = {64: 0.9, 128: 0.3}
_LEAST_WHOLE_BACKWARD = 0.3
_MOST_LISTED_STEPS = 0.95  # of those over ranges, where steps come from a list of blocks
_MOST_ROOM, _LEAST_ROOM = 4, 256  # tiles of queries that sums of several sequences have room for, of those of one
_MOST_UNSHIFTED = 60.0  # of scores whose weights are exp(score) as it is, up to 2**87
_LEAST_TOKENS = 512  # of a sequence, the mean over the lines of the table: shorter ones have mostly ragged tiles


class HopperCase(NamedTuple):
    """What a kernel is launched on."""

    kernel: Kernel
    tensors: tuple[Meta, ...]  # q, k, v; backward the gradient of out, too
    lines: int  # of the table of sequences; 0: each row of the batch is one
    q_offset: int
    dropout: bool = False

    @property
    def q(self) -> Meta:
        return self.tensors[0]

    @property
    def n(self) -> int:
        """Keys."""
        return self.tensors[1].shape[2]

    @property
    def in_blocks(self) -> bool:
        """Whether steps come from a list of blocks: where tables name some, and forward where steps are fewer then."""
        if (env := os.environ.get("SPARSEC_BLOCKS", "")) == "0":
            return False
        tables = bool(self.kernel.regions[0].rows_tables)
        if (
            self.lines
            or hopper_size(self.q.shape[3]) != 128
            or (tables and not in_whole_blocks(self.kernel, self.q_offset))
        ):
            return False
        if self.kernel.kind != "forward" or not has_no_score(self.kernel):
            return tables and self.kernel.kind != "forward"
        return (
            tables
            or env == "1"
            or share_of_listed(self.kernel, self.q.shape[2], self.n, self.q_offset) <= _MOST_LISTED_STEPS
        )

    @property
    def tiles(self) -> int:
        """Of queries, of all heads."""
        return cdiv(self.q.shape[2], self.sizes.rows) * self.q.shape[0] * self.q.shape[1]

    @property
    def sizes(self) -> HopperTiles:
        """Of its tiles forward."""
        return HOPPER_TILES[hopper_size(self.q.shape[3])]


def hopper_size(head_dim: int) -> int:
    """The head size that its tiles have."""
    return max(64, 1 << (head_dim - 1).bit_length())


def known_gluon() -> bool:
    """Whether this Triton has the Gluon that the tier is written in, and compiles."""
    found = re.match(r"3\.(\d+)\.", getattr(triton, "__version__", ""))
    interpreted = not found or triton.knobs.runtime.interpret
    return GluonDescriptor is not None and not interpreted and bool(found and int(found[1]) in _TRITON)


# What the tier can't do without, and why not where it is missing.
_NEEDS: dict[str, Callable[[HopperCase], bool]] = {
    _GPU: lambda case: machine_lacks(case.q.device) != _GPU,
    _GLUON: lambda case: machine_lacks(case.q.device) != _GLUON,
    "16-bit types": lambda case: case.q.dtype in (torch.float16, torch.bfloat16),
    "a head size from 40 to 128": lambda case: case.q.shape[3] > 32 and hopper_size(case.q.shape[3]) in HOPPER_TILES,
    "values of the head size of keys": lambda case: len({x.shape[3] for x in case.tensors}) == 1,
    "tensors that are not expanded": lambda case: not any(0 in x.strides for x in case.tensors),
    "one softmax from start to end": lambda case: case.kernel.begin == "init" and case.kernel.end == "store",
    "one region": lambda case: len(case.kernel.regions) == 1,
    "positions as they are": lambda case: (
        case.kernel.stride == 1 and not (case.kernel.regions[0].gathered or case.kernel.grouped)
    ),
    "ranges of tiles": lambda case: not (case.kernel.listed or case.kernel.regions[0].tile_lists),
    "no tables": lambda case: (
        not (case.kernel.regions[0].tables or case.kernel.regions[0].rows_tables) or case.in_blocks
    ),
    "no data of the call": lambda case: not (case.kernel.regions[0].inputs or case.kernel.regions[0].score_inputs),
    "no dropout": lambda case: not case.dropout,
}


def machine_lacks(device: torch.device) -> str:
    """What the tier would need besides on a machine, whatever the kernel; "" where nothing is missing."""
    if capability(device) != _CAPABILITY:
        return _GPU
    return "" if known_gluon() else _GLUON


def hopper_lacks(case: HopperCase) -> str:
    """What a kernel would need to run in the tier; "" where it can."""
    return next((need for need, holds in _NEEDS.items() if not holds(case)), "")


# Where it is faster than the plain tier, as measured on an H100 (docs/architecture.md has the figures).
_FASTER_WITH: dict[str, Callable[[HopperCase], bool]] = {
    "2,048 keys": lambda case: case.n >= TMA_LENGTH,
    "64 queries": lambda case: case.q.shape[2] >= GROUP_ROWS,
    "a tile for three of four processors": lambda case: 4 * case.tiles >= 3 * processors(case.q.device),
    "blocks of whole tiles, if any": lambda case: (
        case.kernel.block == 1 or not case.kernel.block % case.sizes.keys or case.in_blocks
    ),
    "sequences of 512 tokens": lambda case: case.q.shape[0] * case.q.shape[2] >= _LEAST_TOKENS * case.lines,
}
_FORWARD_FASTER_WITH = _FASTER_WITH | {
    # Of the tile of such queries, half of the rows have nothing to do at most steps, but of those from a list.
    "no queries that see far more keys": lambda case: not case.kernel.split_prefix or case.in_blocks,
    # Functions such as tanh take registers that the products in flight have, and time that a maximum leaves.
    "a score that adds to products or is bounded, if any": lambda case: (
        case.kernel.regions[0].answers.score is None
        or case.kernel.regions[0].answers.score_gradient is None
        or is_bounded(case.kernel, case.q.dtype)
    ),
    "few tiles with masks": lambda case: _whole_share(case) >= _LEAST_WHOLE[hopper_size(case.q.shape[3])],
}
_GRADIENTS_FASTER_WITH = _FASTER_WITH | {
    "2,048 queries": lambda case: case.q.shape[2] >= TMA_LENGTH,
    # Of one sequence alone such keys come in parts.
    "no keys that far more queries see, of several sequences": lambda case: (
        not (case.lines and case.kernel.split_prefix)
    ),
    "a head size above 64": lambda case: case.q.shape[3] > 64,
    "few tiles with masks": lambda case: _whole_share(case) >= _LEAST_WHOLE_BACKWARD,
}


def _whole_share(case: HopperCase) -> float:
    """The share of steps that go without a mask, the mean of some tiles: others take up to twice as long."""
    region, n_q, n, keys = case.kernel.regions[0], case.q.shape[2], case.n, case.sizes.keys
    if region.rows_tables:  # of whole blocks
        return 1.0
    rows = torch.linspace(0, max(n_q - GROUP_ROWS, 0), _SAMPLES, dtype=torch.int64)
    rows = rows.div(GROUP_ROWS, rounding_mode="floor") * GROUP_ROWS
    q_lo = rows[:, None] + case.q_offset
    k_lo = torch.arange(0, n, keys)[None, :]
    edges = q_lo, q_lo + GROUP_ROWS - 1, k_lo, k_lo + keys - 1
    whole = torch.as_tensor(region.is_full(*edges, n, *region.more)) & (edges[3] < n)
    visited = torch.zeros(len(rows), k_lo.shape[1], dtype=torch.bool)
    for seen, first in zip(visited, q_lo[:, 0].tolist(), strict=True):
        for begin, end in region.visit(first, first + GROUP_ROWS - 1, n, *region.more):
            if max(begin, 0) < end:
                seen[max(begin, 0) // keys : cdiv(end, keys)] = True
    steps = visited.sum(1)
    return float(((whole & visited).sum(1) / steps.clamp(min=1))[steps > 0].mean())


def is_bounded(kernel: Kernel, dtype: torch.dtype) -> bool:
    """Whether scores are so small that a softmax needs no maximum: neither weights overflow nor sums of them.

    float16 has too few exponents for that.
    """
    most = kernel.regions[0].answers.most
    return most is not None and most <= _MOST_UNSHIFTED and dtype == torch.bfloat16


def on_hopper(run: Pass, kernel: Kernel, q_offset: int) -> bool:
    """Whether a forward kernel of a pass runs in the tier."""
    wanted, case = wanted_tier(), _case(run, kernel, q_offset)
    if wanted == "plain" or hopper_lacks(case):
        return False
    return wanted == "hopper" or all(holds(case) for holds in _FORWARD_FASTER_WITH.values())


def in_blocks(run: Pass, kernel: Kernel, q_offset: int) -> bool:
    """Whether steps of a forward kernel of the tier come from a list of blocks."""
    return _case(run, kernel, q_offset).in_blocks


def gradients_on_hopper(run: Pass, q_offset: int) -> Kernel | None:
    """The dkdv kernel in the place of which the tier makes all gradients of a pass; None where the plain tier does."""
    wanted, group = wanted_tier(), run.program.groups[0]
    variant = variant_of(run, group)
    kernels = variant.of("dkdv")
    case = _case(run, kernels[0], q_offset)
    if wanted == "plain" or gradients_lack(case, group, variant, len(run.program.groups)):
        return None
    if wanted == "hopper" or all(holds(case) for holds in _GRADIENTS_FASTER_WITH.values()):
        return kernels[0]
    return None


def gradients_lack(case: HopperCase, group: Group, variant: Variant, groups: int = 1) -> str:
    """What the kernels of a variant of a group would need so that the tier makes their gradients; "" where it can."""
    dq, dkdv = variant.of("dq"), variant.of("dkdv")
    if groups > 1 or group.heads is not None:
        return "one pattern for all heads"
    if len(dq) != 1 or len(dkdv) != 1 or dq[0].regions != dkdv[0].regions or dkdv[0].collects:
        return "one region"
    if lacks := hopper_lacks(case):
        return lacks
    if case.lines:
        return _sequences_lack(case)
    queries = STEP_QUERIES[hopper_size(case.q.shape[3])]
    steps = count_steps(case.kernel.regions[0], case.q.shape[2], case.n, case.q_offset, queries)
    return "" if 0 < steps <= MOST_STEPS else f"1 to {MOST_STEPS:,} tiles of pairs"


def _sequences_lack(case: HopperCase) -> str:
    """The same of the sequences of a call, for whose tiles and steps there is room whatever their lengths are."""
    batch, n_q, queries = case.q.shape[0], case.q.shape[2], STEP_QUERIES[hopper_size(case.q.shape[3])]
    tiles = most_tiles(case.lines, batch * n_q, queries, 1)
    if tiles > _MOST_ROOM * cdiv(batch * n_q, queries) + _LEAST_ROOM:
        return "sequences that are few for their tokens"
    steps = listed_steps(most_tiles(case.lines, batch * case.n, STEP_KEYS, 1), n_q, queries)
    return "" if steps <= MOST_LISTED else f"at most {MOST_LISTED:,} tiles of pairs"


def _case(run: Pass, kernel: Kernel, q_offset: int) -> HopperCase:
    tensors = tuple(run.metas[name] for name in ("Q", "K", "V", "DO") if name in run.metas)
    lines = run.metas["SEQUENCES"].shape[0] if run.packed else 0
    return HopperCase(kernel, tensors, lines, q_offset, "STREAMS" in run.metas)


def wanted_tier() -> str:
    """What SPARSEC_TIER says: "plain", "hopper", or "" for the faster one.  ValueError for anything else."""
    wanted = os.environ.get(TIER, "")
    if wanted not in ("", *_TIERS):
        raise ValueError(f"[SP0708] {TIER} must be {' or '.join(_TIERS)}, or not be set; got {wanted!r}")
    return wanted
