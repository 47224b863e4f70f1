"""How a pass launches the forward kernel of the Hopper tier."""

from __future__ import annotations

from sparsec.kernels.hopper.forward.kernel import hopper_forward_kernel
from sparsec.kernels.hopper.resources import GROUP_ROWS, HOPPER_TILES, hopper_size
from sparsec.kernels.hopper.tier import has_no_maximum
from sparsec.kernels.launches.direct import Box
from sparsec.kernels.launches.launch import Environment, Meta, Pass, Slot
from sparsec.kernels.launches.prepare import Heads, rules_of, strides_by_name
from sparsec.kernels.launches.stages import join_splits, lay_splits, near_of, split_first_tiles
from sparsec.kernels.lists.data_tiles import lay_sequence_tiles
from sparsec.kernels.machine.gluon import gl
from sparsec.kernels.machine.hardware import processors
from sparsec.kernels.program.program import Kernel, cdiv
from sparsec.kernels.tiles.splits import combine_splits

# Registers of a thread by the number of groups, the mean: two have 240 each, three 160.
_REGISTERS = {2: 168, 3: 128}
_CACHED = 32 << 20  # bytes of keys and values that are read again and again


def launch_hopper(run: Pass, kernel: Kernel, heads: Heads, more: Environment, q_offset: int) -> None:
    """Launches a forward kernel that `sparsec.kernels.hopper.tier` takes, and what joins tiles that programs split.

    `more`: what it takes besides, by name.
    """
    q, k = run.metas["Q"], run.metas["K"]
    (batch, all_heads, n_q, head_dim), n = q.shape, k.shape[2]
    size = hopper_size(head_dim)
    rows, keys, stages, slots = HOPPER_TILES[size]
    values: Environment = rules_of(kernel) | heads.lists | more
    values["KEEP"] = kernel.regions[0].answers.keep_static or values["KEEP"]  # there is no data to be passed on
    values |= {"NAME": kernel.name, "NUMBERS": kernel.numbers or None, "LONGEST_FIRST": kernel.longest_first}
    values |= {"GROUP": all_heads // k.shape[1], "HEAD_DIM": head_dim, "BLOCK_D": size}
    values |= {"BLOCK_M": rows, "BLOCK_N": keys, "STAGES": stages, "SLOTS": slots}
    values["NEAR"] = near_of(run, kernel, q_offset)
    values |= {"SCORE": kernel.regions[0].answers.exponent, "TILT": kernel.regions[0].answers.tilt}
    values["WEIGHT"] = kernel.regions[0].answers.weight if has_no_maximum(kernel, q.dtype) else None
    whole = kernel.block > 1 and kernel.block % rows == kernel.block % keys == q_offset % rows == 0
    values["WHOLE"] = whole and not run.packed  # sequences have first positions of their own
    out = "CARRY" if kernel.carries else "OUT"
    for name, block in {"Q": GROUP_ROWS, "K": keys, "V": keys}.items():
        values[name] = hopper_box(name, run.metas[name], block, size)
    values["OUT"] = hopper_box(out, run.metas[out], GROUP_ROWS, size)
    options, tiles = {"num_warps": 4, "maxnreg": _REGISTERS[rows // GROUP_ROWS]}, cdiv(n_q, rows)
    values |= {"OUT_ROWS": Slot(out), **strides_by_name(r=run.metas[out])}
    values["OUT_TOP"] = Slot("CARRY_TOP") if kernel.carries else None
    values |= {"scale_log2": Slot("scale_log2"), "heads": all_heads, "group_heads": heads.queries}
    values |= {"n_q": n_q, "n": n, "q_offset": q_offset, "batches": batch, "tiles": tiles}
    values["together"] = heads.queries * batch if run.packed else heads_together(k, heads.queries * batch, all_heads)
    if run.packed:
        laid, most = lay_sequence_tiles(run, kernel, heads, values, (rows, keys))
        values |= {"TILES": laid["TILES"], "LONGEST_FIRST": False}
        programs = min(most * heads.queries, processors(q.device))
        run.launch(hopper_forward_kernel, (programs, 1, 1), values, options)
        return
    split, found = None, {}
    if kernel.split_prefix:
        prefix, steps = kernel.split_prefix - q_offset, cdiv(n, keys)
        split = split_first_tiles(prefix, n_q, rows, steps, heads.queries, batch, all_heads)
        found = lay_splits(run, split, {"SPLITS": (head_dim,), "SPLITS_LSE": ()})
        values |= split.values | found
    programs = (tiles + (split.programs if split else 0)) * heads.queries * batch
    run.launch(hopper_forward_kernel, (min(programs, processors(q.device)), 1, 1), values, options)
    if split:
        found |= {"OUT": Slot("OUT"), "OUT_TOP": None, "LSE": Slot("LSE"), "HEADS": heads.lists.get("HEADS")}
        join_splits(run, combine_splits, split, found)


def heads_together(k: Meta, rows: int, heads: int) -> int:
    """How many query heads of all batches take turns: those whose keys and values a part of the L2 cache holds."""
    bytes_of_head = 2 * k.shape[2] * k.shape[3] * k.dtype.itemsize
    return min(max(_CACHED // bytes_of_head, 1) * heads // k.shape[1], rows)


def hopper_box(name: str, x: Meta, rows: int, columns: int) -> Box:
    """x [B, H, n, D] for the copy engine, in blocks as products read them."""
    block = [1, 1, rows, columns]
    return Box(name, list(x.shape), list(x.strides), block, gl.NVMMASharedLayout.get_default_for(block, gl.float16))
