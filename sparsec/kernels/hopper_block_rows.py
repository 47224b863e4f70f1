"""How a pass launches the forward kernel of the Hopper tier whose steps come from a list of blocks."""

from __future__ import annotations

import math
import os

from sparsec.kernels.hardware import processors
from sparsec.kernels.hopper_block_kernel import hopper_block_kernel
from sparsec.kernels.hopper_blocks import STEP_BLOCK, block_steps
from sparsec.kernels.hopper_rows import hopper_box
from sparsec.kernels.hopper_rules import hopper_size
from sparsec.kernels.launch import Environment, Pass, Slot
from sparsec.kernels.prepare import Heads, strides_by_name
from sparsec.kernels.program import Kernel, cdiv
from sparsec.kernels.splits import combine_splits
from sparsec.kernels.stages import join_splits, lay_splits, split_first_tiles

_REGISTERS_OF_BLOCKS = 168  # of a thread, the mean: groups that compute have 240, those that load 24


def launch_hopper_blocks(run: Pass, kernel: Kernel, heads: Heads, more: Environment, q_offset: int) -> None:
    """Launches a forward kernel whose steps come from a list, and what joins tiles that programs split.

    `more`: what it takes besides, by name.
    """
    q, k, region = run.metas["Q"], run.metas["K"], kernel.regions[0]
    (batch, all_heads, n_q, head_dim), n = q.shape, k.shape[2]
    size, rows = hopper_size(head_dim), 2 * STEP_BLOCK
    tiles, prefix = cdiv(n_q, rows), min(max(kernel.split_prefix - q_offset, 0), n_q)
    twin = cdiv(prefix, STEP_BLOCK) % 2 == 1 and os.environ.get("SPARSEC_TWIN", "1") == "1"
    split, found, shares = None, {}, 0
    if prefix:
        split = split_first_tiles(
            prefix, n_q, STEP_BLOCK if twin else rows, cdiv(n, rows), heads.queries, batch, all_heads
        )
        if split.slots and "SPARSEC_SHARES" in os.environ:
            times = int(os.environ["SPARSEC_SHARES"])
            parts = {"split_tiles": split.values["split_tiles"], "splits": split.values["splits"] * times}
            split = split._replace(slots=split.slots * times, values=parts)
        twin = twin and split.slots > 0
        shares = split.values["splits"] if twin else 0
    split_rows = split.rows if split else 0
    made = block_steps(region, n_q, n, q_offset, split_rows, shares, run.device)
    values: Environment = heads.lists | more | {"NAME": kernel.name, "NUMBERS": kernel.numbers or None}
    values |= {"KEEP": None if region.rows_tables else region.answers.keep, "STARTS": made.starts, "STEPS": made.steps}
    values |= {"GROUP": all_heads // k.shape[1], "HEAD_DIM": head_dim, "BLOCK_D": size}
    for name, columns in {"Q": size, "K": STEP_BLOCK, "V": STEP_BLOCK, "OUT": size}.items():
        values[name] = hopper_box(name, run.metas[name], STEP_BLOCK, columns)
    values |= {"OUT_ROWS": Slot("OUT"), **strides_by_name(r=run.metas["OUT"])}
    values |= {"scale_log2": Slot("scale_log2"), "heads": all_heads, "group_heads": heads.queries}
    values |= {"n_q": n_q, "n": n, "q_offset": q_offset, "batches": batch, "tiles": tiles}
    values |= {"TWIN": twin, "TURNS": int(os.environ.get("SPARSEC_TURNS", "0"))}
    numbers = tiles * heads.queries * batch
    if split:
        count = split.values["split_tiles"]
        numbers += (count * split.values["splits"] - (count // 2 if twin else count)) * heads.queries * batch
        values |= split.values
        all_shares = count * split.values["splits"] * heads.queries * batch
        values["share_every"] = share_every(all_shares, numbers, min(numbers, processors(q.device)))
        if "SPARSEC_EVERY" in os.environ:
            values["share_every"] = int(os.environ["SPARSEC_EVERY"])
        if twin:
            parts = {"split_tiles": count, "splits": 2 * shares}
            split = split._replace(slots=2 * split.slots, values=parts)
        found = lay_splits(run, split, {"SPLITS": (head_dim,), "SPLITS_LSE": ()})
        values |= found
    programs = min(numbers, processors(q.device))
    run.launch(hopper_block_kernel, (programs, 1, 1), values, {"num_warps": 4, "maxnreg": _REGISTERS_OF_BLOCKS})
    if split:
        found |= {"OUT": Slot("OUT"), "OUT_TOP": None, "LSE": Slot("LSE"), "HEADS": heads.lists.get("HEADS")}
        join_splits(run, combine_splits, split, found)


def share_every(shares: int, numbers: int, programs: int) -> int:
    """Of how many numbers one is a share of a tile that programs split.

    Each program takes one number of `programs`: without a common divisor, all come to as many shares.
    """
    every = max(numbers // max(shares, 1), 1)
    return next(each for each in range(every, 0, -1) if math.gcd(each, programs) == 1)
