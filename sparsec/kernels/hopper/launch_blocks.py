"""How a pass launches the forward kernel of the Hopper tier whose steps come from a list of blocks."""

from __future__ import annotations

import math
from typing import NamedTuple

from sparsec.kernels.hopper.block_steps import STEP_BLOCK, block_steps
from sparsec.kernels.hopper.forward.block_kernel import hopper_block_kernel
from sparsec.kernels.hopper.launch_forward import hopper_box
from sparsec.kernels.hopper.resources import hopper_size
from sparsec.kernels.launches.launch import Environment, Pass, Slot
from sparsec.kernels.launches.prepare import Heads, strides_by_name
from sparsec.kernels.launches.stages import Split, join_splits, lay_splits, split_first_tiles
from sparsec.kernels.machine.hardware import processors
from sparsec.kernels.program.program import Kernel, cdiv
from sparsec.kernels.tiles.splits import combine_splits

_REGISTERS_OF_BLOCKS = 168  # of a thread, the mean: groups that compute have 240, those that load 24


class _Shares(NamedTuple):
    """What programs split: the first tiles of queries, or the first 64 rows, of whose keys each group has its own."""

    split: Split  # for what each group finds that has keys of its own
    each: int  # programs of a tile or of 64 rows
    twin: bool
    fewer: int  # tiles of a head that are no tiles of one program


def launch_hopper_blocks(run: Pass, kernel: Kernel, heads: Heads, more: Environment, q_offset: int) -> None:
    """Launches a forward kernel whose steps come from a list, and what joins tiles that programs split.

    `more`: what it takes besides, by name.
    """
    q, k, region = run.metas["Q"], run.metas["K"], kernel.regions[0]
    (batch, all_heads, n_q, head_dim), n = q.shape, k.shape[2]
    size, rows, tiles = hopper_size(head_dim), heads.queries * batch, cdiv(n_q, 2 * STEP_BLOCK)
    shares = _shares_of(kernel.split_prefix - q_offset, n_q, n, heads.queries, batch, all_heads)
    made = block_steps(region, n_q, n, q_offset, shares.split.rows, shares.each, run.device)
    values: Environment = heads.lists | more | {"NAME": kernel.name, "NUMBERS": kernel.numbers or None}
    values |= {"KEEP": None if region.rows_tables else region.answers.keep, "STARTS": made.starts, "STEPS": made.steps}
    values |= {"GROUP": all_heads // k.shape[1], "HEAD_DIM": head_dim, "BLOCK_D": size}
    for name, columns in {"Q": size, "K": STEP_BLOCK, "V": STEP_BLOCK, "OUT": size}.items():
        values[name] = hopper_box(name, run.metas[name], STEP_BLOCK, columns)
    values |= {"OUT_ROWS": Slot("OUT"), **strides_by_name(r=run.metas["OUT"])}
    values |= {"scale_log2": Slot("scale_log2"), "heads": all_heads, "group_heads": heads.queries}
    values |= {"n_q": n_q, "n": n, "q_offset": q_offset, "batches": batch, "tiles": tiles}
    values |= {"TWIN": shares.twin}
    split, found = shares.split, {}
    numbers, count = (tiles - shares.fewer) * rows, split.values["split_tiles"] * shares.each * rows
    programs = min(numbers + count, processors(q.device))
    if count:
        found = lay_splits(run, split, {"SPLITS": (head_dim,), "SPLITS_LSE": ()})
        values |= found | {"split_tiles": split.values["split_tiles"], "splits": shares.each}
        values["share_every"] = share_every(count, numbers + count, programs)
    run.launch(hopper_block_kernel, (programs, 1, 1), values, {"num_warps": 4, "maxnreg": _REGISTERS_OF_BLOCKS})
    if count:
        found |= {"OUT": Slot("OUT"), "OUT_TOP": None, "LSE": Slot("LSE"), "HEADS": heads.lists.get("HEADS")}
        join_splits(run, combine_splits, split, found)


def _shares_of(prefix: int, n_q: int, n: int, own: int, batch: int, heads: int) -> _Shares:
    """How programs split the rows below `prefix`: whole tiles, or 64 rows at a time where half a tile would be left."""
    twin = cdiv(min(max(prefix, 0), n_q), STEP_BLOCK) % 2 == 1
    block = STEP_BLOCK if twin else 2 * STEP_BLOCK
    split = split_first_tiles(prefix, n_q, block, cdiv(n, 2 * STEP_BLOCK), own, batch, heads)
    count, each = split.values["split_tiles"], split.values["splits"]
    twin = twin and count > 0
    if twin:
        split = split._replace(slots=2 * split.slots, values={"split_tiles": count, "splits": 2 * each})
    return _Shares(split, each, twin, count // 2 if twin else count)


def share_every(shares: int, numbers: int, programs: int) -> int:
    """Of how many numbers one is a share of a tile that programs split.

    Each program takes one number of `programs`: without a common divisor, all come to as many shares.
    """
    every = max(numbers // max(shares, 1), 1)
    return next(each for each in range(every, 0, -1) if math.gcd(each, programs) == 1)
