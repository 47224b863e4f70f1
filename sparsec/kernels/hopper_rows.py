"""How a pass launches the forward kernel of the Hopper tier."""

from __future__ import annotations

import torch

from sparsec.kernels.direct import Box
from sparsec.kernels.hardware import processors
from sparsec.kernels.hopper import gl
from sparsec.kernels.hopper_forward_kernel import hopper_forward_kernel
from sparsec.kernels.hopper_tier import HOPPER_BLOCK, HOPPER_STAGES, hopper_size
from sparsec.kernels.launch import Environment, Meta, Pass, Slot
from sparsec.kernels.prepare import Heads, rules_of
from sparsec.kernels.program import Kernel, cdiv
from sparsec.kernels.splits import combine_splits
from sparsec.kernels.stages import join_splits, split_counts

_OPTIONS = {"num_warps": 4, "maxnreg": 168}  # of the loading warp and both groups: 24 and 240 registers a thread


def launch_hopper(run: Pass, kernel: Kernel, heads: Heads, q_offset: int) -> None:
    """Launches a forward kernel that `sparsec.kernels.hopper_tier` takes, and what joins tiles that programs split."""
    q, k = run.metas["Q"], run.metas["K"]
    (batch, all_heads, n_q, head_dim), n = q.shape, k.shape[2]
    size, n_bh = hopper_size(head_dim), heads.queries * batch
    values: Environment = rules_of(kernel) | heads.lists
    values |= {"NAME": kernel.name, "NUMBERS": kernel.numbers or None, "LONGEST_FIRST": kernel.longest_first}
    values |= {"GROUP": all_heads // k.shape[1], "HEAD_DIM": head_dim, "BLOCK_D": size, "STAGES": HOPPER_STAGES[size]}
    values |= {"BLOCK_M": HOPPER_BLOCK, "BLOCK_N": HOPPER_BLOCK}
    values["WHOLE"] = kernel.block > 1 and kernel.block % HOPPER_BLOCK == q_offset % HOPPER_BLOCK == 0
    for name, rows in {"Q": HOPPER_BLOCK // 2, "K": HOPPER_BLOCK, "V": HOPPER_BLOCK, "OUT": HOPPER_BLOCK // 2}.items():
        values[name] = _box(name, run.metas[name], rows, size)
    tiles, split_tiles = cdiv(n_q, HOPPER_BLOCK), 0
    values |= {"LSE": Slot("LSE"), "scale_log2": Slot("scale_log2"), "heads": all_heads, "group_heads": heads.queries}
    values |= {"n_q": n_q, "n": n, "q_offset": q_offset, "batches": batch, "tiles": tiles}
    programs = tiles
    if kernel.split_prefix:
        split_tiles, parts = split_counts(
            kernel.split_prefix - q_offset, n_q, HOPPER_BLOCK, cdiv(n, HOPPER_BLOCK), n_bh
        )
        shape = parts, batch, all_heads, split_tiles * HOPPER_BLOCK
        run.empty("SPLITS", (*shape, head_dim), torch.float32)
        run.empty("SPLITS_LSE", shape, torch.float32)
        values |= {name: Slot(name) for name in ("SPLITS", "SPLITS_LSE")}
        values |= {"split_tiles": split_tiles, "splits": parts}
        programs += split_tiles * (parts - 1)
    grid = min(programs * n_bh, processors(q.device)), 1, 1
    run.launch(hopper_forward_kernel, grid, values, _OPTIONS)
    if split_tiles:
        joined = {name: Slot(name) for name in ("OUT", "SPLITS_LSE", "LSE")} | {"HEADS": heads.lists.get("HEADS")}
        join_splits(run, combine_splits, "SPLITS", joined, heads, False)


def _box(name: str, x: Meta, rows: int, columns: int) -> Box:
    """x [B, H, n, D] for the copy engine, in blocks as products read them."""
    block = [1, 1, rows, columns]
    return Box(name, list(x.shape), list(x.strides), block, gl.NVMMASharedLayout.get_default_for(block, gl.float16))
