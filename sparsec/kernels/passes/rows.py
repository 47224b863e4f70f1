"""The kernels whose programs have tiles of queries, forward and dq: how a pass launches them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from sparsec.kernels.groups.launch import launch_grouped_rows
from sparsec.kernels.hopper.launch_blocks import launch_hopper_blocks
from sparsec.kernels.hopper.launch_forward import launch_hopper
from sparsec.kernels.hopper.tier import in_blocks, on_hopper
from sparsec.kernels.launches.launch import Environment, Meta, Pass, Slot
from sparsec.kernels.launches.prepare import (
    Heads,
    Prepared,
    bind,
    heads_of,
    prepare_launch,
    query_tiles,
    strides_by_name,
)
from sparsec.kernels.launches.stages import (
    carry_state,
    join_splits,
    keys_of,
    lay_splits,
    near_of,
    split_first_tiles,
    variant_of,
)
from sparsec.kernels.lists.data_tiles import lay_data_tiles, lay_sequence_tiles, read_inputs
from sparsec.kernels.lists.tile_lists import read_besides
from sparsec.kernels.passes.chosen_keys import keys_apart, launch_chosen_keys
from sparsec.kernels.passes.dq_kernel import dq_kernel
from sparsec.kernels.passes.forward_kernel import forward_kernel
from sparsec.kernels.program.program import WHOLE_ROWS, Kernel, cdiv
from sparsec.kernels.tiles.splits import combine_splits, reduce_splits

_LAUNCHED = {"forward": forward_kernel, "dq": dq_kernel}
_RESULTS = {"forward": "OUT", "dq": "DQ"}


def launch_rows(
    run: Pass, kind: str, own: Environment, rows: int, more: Callable[[Kernel], Environment], q_offset: int
) -> None:
    """Launches the kernels of one kind, "forward" or "dq", of all groups on tiles of `rows` queries.

    `own`: names and metas of what a program loads once.  `more`: what a kernel of the kind takes besides, by name.
    """
    q, k, result = run.metas["Q"], run.metas["K"], _RESULTS[kind]
    for group in run.program.groups:
        heads, kernels = heads_of(group, q, k), variant_of(run, group).of(kind)
        if any(kernel.carries or keys_apart(run, kernel) for kernel in kernels):
            carry_state(run, "CARRY_TOP", {"CARRY": run.metas[result]})
        for kernel in kernels:
            if kernel.grouped:
                launch_grouped_rows(run, kernel, heads, more(kernel), q_offset)
            elif apart := keys_apart(run, kernel):
                if kind == "forward" and on_hopper(run, apart.beside, q_offset):
                    launch_hopper(run, apart.beside, heads, more(apart.beside), q_offset)
                else:
                    _launch_kernel(run, apart.beside, heads, own, rows, more(apart.beside), q_offset)
                for each in apart.lists:
                    launch_chosen_keys(run, each, heads, more(each.kernel), q_offset)
            elif kind == "forward" and on_hopper(run, kernel, q_offset):
                launch = launch_hopper_blocks if in_blocks(run, kernel, q_offset) else launch_hopper
                launch(run, kernel, heads, more(kernel), q_offset)
            else:
                _launch_kernel(run, kernel, heads, own, rows, more(kernel), q_offset)


def _launch_kernel(
    run: Pass, kernel: Kernel, heads: Heads, own: Environment, rows: int, more: Environment, q_offset: int
) -> None:
    """Launches one kernel over tiles; `more`: what its kind takes besides, by name."""
    q, k, v, result = run.metas["Q"], run.metas["K"], run.metas["V"], _RESULTS[kernel.kind]
    keys = keys_of(run, kernel, heads)
    moving = {name: run.metas[stored] for name, stored in keys.items()}
    made = prepare_launch(run.program, kernel, own, moving, q_offset, run.packed)
    values = strides_by_name(q=q, k=k, v=v, r=run.metas[result]) | {"GROUP": q.shape[1] // k.shape[1]}
    values |= {"heads": q.shape[1], "n_q": q.shape[2], "n": k.shape[2], "q_offset": q_offset}
    values["NEAR"] = near_of(run, kernel, q_offset)
    values["ROWS_OF_QUERY"] = run.rows_of_query if run.rows_of_query > 1 else None
    values |= {"scale_log2": Slot("scale_log2"), **heads.lists, **made.constants, **more}
    bind(values, {name: name for name in own} | keys)
    if kernel.begin == "continue":
        values |= {"PARTIAL": Slot("CARRY"), "PARTIAL_TOP": Slot("CARRY_TOP")}
    values[result] = Slot("CARRY" if kernel.carries else result)
    values |= {f"{result}_TOP": Slot("CARRY_TOP")} if kernel.carries else {}
    _launch(run, kernel, heads, made, values, rows, q_offset)


def _launch(
    run: Pass, kernel: Kernel, heads: Heads, made: Prepared, values: Environment, rows: int, q_offset: int
) -> None:
    """Launches one kernel, and what joins the tiles that several of its programs split."""
    q, n = run.metas["Q"], run.metas["K"].shape[2]
    batch, _, n_q, _ = q.shape
    block_m, block_n = made.blocks
    if run.packed:
        laid, programs = lay_sequence_tiles(run, kernel, heads, values, made.blocks)
        run.launch(_LAUNCHED[kernel.kind], (programs, heads.queries, 1), values | laid, made.options)
        return
    tiles = query_tiles(kernel, rows, block_m)
    values |= read_besides(kernel.regions[0], "rows", n_q, n, q_offset, made.blocks, q.device) | read_inputs(run)
    lists, split = lay_data_tiles(run, kernel, heads, values, q_offset, made.blocks)
    if kernel.split_prefix and not lists:
        prefix, steps = kernel.split_prefix - q_offset, cdiv(n, block_n)
        split = split_first_tiles(prefix, n_q, block_m, steps, heads.queries, batch, q.shape[1])
    values |= lists
    if split is None:
        run.launch(_LAUNCHED[kernel.kind], (tiles, heads.queries, batch), values, made.options)
        return
    splits = {"SPLITS": (run.metas[_RESULTS[kernel.kind]].shape[3],)}
    found = lay_splits(run, split, splits | ({"SPLITS_LSE": ()} if kernel.kind == "forward" else {}))
    values |= split.values | found
    run.launch(_LAUNCHED[kernel.kind], (tiles + split.programs, heads.queries, batch), values, made.options)
    found |= {"OUT": values[_RESULTS[kernel.kind]], "OUT_TOP": Slot("CARRY_TOP") if kernel.carries else None}
    found |= {"LSE": Slot("LSE"), "HEADS": heads.lists.get("HEADS")}
    join_splits(run, combine_splits if kernel.kind == "forward" else reduce_splits, split, found)


def class_stats(run: Pass, q: Meta, stride: int, numbers: int) -> None:
    """Room for some numbers of every row, each residue class side by side in whole tiles of any BLOCK_M.

    [numbers * n_bh * stride, n_class_rows].  Rows beyond n_q have no weights: a log-sum-exp of inf, and 0 for others.
    """
    n_bh, n_q = q.shape[0] * q.shape[1] * stride, q.shape[2]
    length = cdiv(cdiv(n_q, stride), WHOLE_ROWS) * WHOLE_ROWS
    name = f"STATS_{stride}"
    run.empty(name, (numbers * n_bh, length), torch.float32)
    if n_q < stride * length:
        run.step(lambda env: env[name][:n_bh].fill_(float("inf")))
        run.step(lambda env: env[name][n_bh:].zero_())
