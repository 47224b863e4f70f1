"""The backward pass of GPU tensors: which kernels are launched, on what, in which order."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from sparsec.kernels.groups.launch import launch_grouped_keys
from sparsec.kernels.hopper.launch_backward import launch_hopper_backward, launch_hopper_sequences
from sparsec.kernels.hopper.tier import gradients_on_hopper
from sparsec.kernels.launches.direct import Box
from sparsec.kernels.launches.kernel_inputs import for_kernels
from sparsec.kernels.launches.launch import Environment, Meta, Pass, Slot, remember
from sparsec.kernels.launches.prepare import Heads, bind, heads_of, prepare_launch, strides_by_name
from sparsec.kernels.launches.stages import (
    beside_join,
    carry_state,
    gathered_name,
    join_splits,
    keys_of,
    lay_splits,
    near_of,
    split_first_tiles,
    variant_of,
)
from sparsec.kernels.lists.data_tiles import lay_data_tiles, lay_sequence_tiles, read_inputs, rows_listed
from sparsec.kernels.lists.tile_lists import read_besides
from sparsec.kernels.machine.device import LOG2_E_FLOAT
from sparsec.kernels.machine.hardware import dot_precision
from sparsec.kernels.machine.memory import as_contiguous, as_readable, dense_strides, lying_as
from sparsec.kernels.passes.chosen_keys import is_list_of_keys, lists_of_keys
from sparsec.kernels.passes.dkdv_kernel import dkdv_kernel
from sparsec.kernels.passes.forward import check_begin, data_of_dropout, rows_of_call, values_of_dropout
from sparsec.kernels.passes.heads_as_rows import as_heads, as_rows
from sparsec.kernels.passes.rows import class_stats, launch_rows
from sparsec.kernels.program.arguments import Call, Dropout, Upstream
from sparsec.kernels.program.inputs import DATA
from sparsec.kernels.program.program import WHOLE_ROWS, Kernel, Program, Region, cdiv, gathered_keys
from sparsec.kernels.sequences.tiles import stats_rows
from sparsec.kernels.tiles.splits import reduce_splits


def backward_gpu(program: Program, call: Call, upstream: Upstream) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v."""
    check_begin(call.k_begin)
    if call.is_empty:
        return call.no_gradients()
    q, k, v = call[:3]
    if q.shape[3] != v.shape[3] and program.grouped:
        found = backward_gpu(program, call.of_one_size(), upstream.of_size(max(q.shape[3], v.shape[3])))
        alike = zip(found, (q, k, v), (q, k, k), strict=True)
        return tuple(lying_as(x[..., : own.shape[3]], like) for x, own, like in alike)  # type: ignore[return-value]
    rows = rows_of_call(program, call)
    own = call._replace(q=as_rows(call.q, rows))
    env = backward_inputs(own, upstream.of(lambda x: as_rows(x, rows)))
    if call.inputs:
        positions = call.positions, call.k.shape[2]
        env |= for_kernels(program, call.inputs, *positions, rows) | lists_of_keys(program, call)
    prepared_backward(program, env, call.q_offset, rows, call.dropout, call.deterministic)(env)
    return as_heads(env["DQ"], call.q, rows), env["DK"], env["DV"]


def backward_inputs(call: Call, upstream: Upstream) -> Environment:
    """What a backward pass starts from, by name."""
    g, out, lse, dlse = upstream
    env = {"Q": as_readable(call.q), "K": as_readable(call.k), "V": as_readable(call.v), "DO": as_readable(g)}
    env |= {"OUT": as_readable(out), "LSE": as_contiguous(lse)}
    env |= {"scale": call.scale, "scale_log2": call.scale * LOG2_E_FLOAT}
    if dlse is not None:
        env["DLSE"] = as_contiguous(dlse)
    return env | data_of_dropout(call.dropout)


def prepared_backward(
    program: Program,
    env: Environment,
    q_offset: int,
    rows_of_query: int = 1,
    dropout: Dropout | None = None,
    deterministic: bool = True,
) -> Pass:
    """The backward pass for such inputs; its parts are "dq" and "dkdv".

    Sums have one order where the call wants it, or torch does at the time.
    """
    ordered = deterministic or torch.are_deterministic_algorithms_enabled()
    q, k, v, g, out = (env[name] for name in ("Q", "K", "V", "DO", "OUT"))
    strides = (*q.stride(), *k.stride(), *v.stride(), *g.stride(), *out.stride())
    lines = len(env["SEQUENCES"]) if "SEQUENCES" in env else 0
    key: tuple = "backward", q.shape, k.shape, v.shape, strides, q.dtype, q.device, q_offset, "DLSE" in env, lines
    key += rows_of_query, dropout and dropout.p, ordered, dot_precision(q.dtype)
    data = [name for name in env if name.startswith(DATA) or is_list_of_keys(name)]
    key += tuple((name, env[name].shape, env[name].dtype) for name in data)
    run = program.passes.get(key)
    if run is None:
        names = (
            "Q",
            "K",
            "V",
            "DO",
            "OUT",
            *(["SEQUENCES"] if lines else []),
            *(["STREAMS"] if dropout else []),
            *data,
        )
        metas = {name: Meta.of(env[name]) for name in names}
        made = _backward_pass(program, metas, q_offset, "DLSE" in env, rows_of_query, dropout, ordered)
        run = remember(program, key, made)
    return run


def _backward_pass(
    program: Program,
    metas: Environment,
    q_offset: int,
    has_dlse: bool,
    rows_of_query: int,
    dropout: Dropout | None,
    ordered: bool,
) -> Pass:
    q = metas["Q"]
    outputs = {name: Meta.contiguous(q.shape[:3], torch.float32, q.device) for name in ("LSE", "DLSE")}
    run = Pass(program, **metas, **outputs)
    run.rows_of_query = rows_of_query
    if kernel := gradients_on_hopper(run, q_offset):
        run.begin("dq")
        if run.packed:
            launch_hopper_sequences(run, kernel, has_dlse, ordered, values_of_dropout(dropout))
        else:
            launch_hopper_backward(run, kernel, q_offset, has_dlse, ordered, values_of_dropout(dropout))
        run.begin("dkdv")  # nothing is left to do
        return run
    passes = [variant_of(run, group).of("dq") for group in program.groups]
    strides = {1 if run.packed else kernel.stride for kernels in passes for kernel in kernels}
    alone = all(len(kernels) == 1 for kernels in passes)
    n_bh, numbers = q.shape[0] * q.shape[1], 3 if dropout else 2  # of each row, for dk and dv
    if 1 in strides or not alone:
        rows = stats_rows(run.metas["SEQUENCES"].shape[0], q.shape[2]) if run.packed else q.shape[2]
        run.scratch("STATS_1", (numbers * n_bh, cdiv(rows, WHOLE_ROWS) * WHOLE_ROWS), torch.float32)
    for stride in sorted(strides - {1}):
        class_stats(run, q, stride, numbers)
    run.begin("dq")
    _launch_dq(run, q_offset, has_dlse, dropout)
    run.begin("dkdv")
    _launch_dkdv(run, q_offset, dropout)
    return run


def _launch_dq(run: Pass, q_offset: int, has_dlse: bool, dropout: Dropout | None) -> None:
    """The gradient of q.  Fills the STATS of every stride with log-sum-exps in base 2 and deltas."""
    q, g = run.metas["Q"], run.metas["DO"]
    n_rows = cdiv(q.shape[2], WHOLE_ROWS) * WHOLE_ROWS
    values = strides_by_name(g=g, o=run.metas["OUT"])
    values |= {"scale": Slot("scale"), "n_rows": run.metas["STATS_1"].shape[1] if run.packed else n_rows}
    values |= values_of_dropout(dropout)
    first = {"OUT": Slot("OUT"), "LSE": Slot("LSE"), "DLSE": Slot("DLSE") if has_dlse else None}

    def more(kernel: Kernel) -> Environment:
        found = values | (first if kernel.begin == "init" else {})
        if kernel.stride > 1 and not run.packed:
            stats = f"STATS_{kernel.stride}"
            found |= {"CLASS_STATS": Slot(stats), "n_class_rows": run.metas[stats].shape[1]}
        if kernel.stride == 1 or run.packed or kernel.begin == "continue" or kernel.carries:
            found["ROW_STATS"] = Slot("STATS_1")
        return found

    run.empty("DQ", q.shape, q.dtype, dense_strides(q.shape, q.strides))
    launch_rows(run, "dq", {"Q": q, "DO": g}, n_rows, more, q_offset)


# ---------------------------------------------------------------- dk and dv


def _launch_dkdv(run: Pass, q_offset: int, dropout: Dropout | None) -> None:
    """The gradients of k and v from the STATS that the kernels for dq leave."""
    program, q, k, v = run.program, *(run.metas[name] for name in "QKV")
    kv_heads, n = k.shape[1], k.shape[2]
    # Where query heads of one key head stand in several groups, or gathered keys are all there is, sums start at 0.
    kernels = [variant_of(run, group).of("dkdv") for group in program.groups]
    alone = [all(kernel.regions[0].gathered for kernel in each) for each in kernels]
    shared = any(alone) or (program.by_head and _shared_keys(program, q.shape[1], kv_heads))
    for name, like in (("DK", k), ("DV", v)):
        dense = dense_strides(like.shape, k.strides)  # both lie alike
        run.zeros(name, like.shape, torch.float32, dense) if shared else run.empty(name, like.shape, k.dtype, dense)
    for group, each, no_other in zip(program.groups, kernels, alone, strict=True):
        own = heads_of(group, q, k)
        if any(kernel.carries for kernel in each):
            carry_state(run, "CARRY_DKDV_TOP", {"CARRY_DK": k, "CARRY_DV": v})
        for kernel in each:
            _launch_dkdv_kernel(run, kernel, own, shared, q_offset, dropout)
        if no_other:
            for kernel in each:
                _scatter(run, kernel.regions[0], n)
    if shared:
        for name, dtype, scaled in (("DK", k.dtype, True), ("DV", v.dtype, False)):
            run.step(functools.partial(_finish, name=name, dtype=dtype, scaled=scaled))


def _shared_keys(program: Program, heads: int, kv_heads: int) -> bool:
    """Whether query heads of different groups share a key head."""
    own = [{head // (heads // kv_heads) for head in group.heads} for group in program.groups if group.heads is not None]
    return sum(map(len, own)) > kv_heads


def _finish(env: Environment, name: str, dtype: torch.dtype, scaled: bool) -> None:
    x = env[name].mul_(env["scale"]) if scaled else env[name]
    env[name] = x.to(dtype)


def _add_at(env: Environment, name: str, keys: Tensor, some: str) -> None:
    env[name].index_add_(2, keys, env[some])


def _scatter(run: Pass, region: Region, n: int) -> None:
    """Adds the sums of gathered keys to dk and dv, where no kernel does."""
    assert region.gathered is not None
    keys = gathered_keys(n, region.gathered, run.device)
    for name in ("DK", "DV"):
        some = gathered_name(name, region)
        run.step(functools.partial(_add_at, name=name, keys=keys, some=some))


def _launch_dkdv_kernel(
    run: Pass, kernel: Kernel, own: Heads, shared: bool, q_offset: int, dropout: Dropout | None
) -> None:
    if kernel.grouped:
        launch_grouped_keys(run, kernel, own, shared, q_offset, dropout)
        return
    (region,) = kernel.regions
    program, q, k, v, g = run.program, *(run.metas[name] for name in ("Q", "K", "V", "DO"))
    batch, heads, n_q, _ = q.shape
    kv_heads, n = k.shape[1], k.shape[2]
    # Where this region's keys and values come from, and where its dk and dv go.
    source, target, top = keys_of(run, kernel, own), {"DK": "DK", "DV": "DV"}, "CARRY_DKDV_TOP"
    k, v = (run.metas[name] for name in source.values())
    if region.gathered:
        target = {name: gathered_name(name, region) for name in target}
        for name, x in zip(target.values(), (k, v), strict=True):
            run.zeros(name, x.shape, torch.float32)
    elif kernel.carries:
        target = {"DK": "CARRY_DK", "DV": "CARRY_DV"}
    rows = rows_listed(run, kernel, q_offset)
    made = prepare_launch(program, kernel, {"K": k, "V": v}, {"Q": q, "DO": g}, q_offset, run.packed, rows is not None)
    block_m, block_n = made.blocks
    values = strides_by_name(q=q, k=k, v=v, g=g, r=run.metas[target["DK"]], dv=run.metas[target["DV"]])
    values |= {"GROUP": heads // kv_heads, "heads": heads, "n_q": n_q, "n": n}
    values |= {"ROWS_OF_QUERY": run.rows_of_query if run.rows_of_query > 1 else None, "ROWS_LISTED": rows}
    values["NEAR"] = near_of(run, kernel, q_offset)
    values |= {"q_offset": q_offset, "scale": Slot("scale"), "scale_log2": Slot("scale_log2")}
    values |= values_of_dropout(dropout)
    values |= {"SHARED": shared and program.by_head and kernel.end == "store", **own.lists, **made.constants}
    bind(values, {"Q": "Q", "DO": "DO", **source, **target})
    if kernel.begin == "continue":
        values |= {"PARTIAL_DK": Slot("CARRY_DK"), "PARTIAL_DV": Slot("CARRY_DV"), "PARTIAL_TOP": Slot(top)}
    values["DKDV_TOP"] = Slot(top) if kernel.carries else None
    for place, other in enumerate(kernel.collects, start=1):
        values |= {f"{name}_SUMS_{place}": Slot(gathered_name(name, other)) for name in ("DK", "DV")}
        values[f"SUMS_{place}"] = other.gathered
    stats = f"STATS_{1 if run.packed else region.stride}"
    pitch = run.metas[stats].shape[1]
    box_of_stats = Box(stats, list(run.metas[stats].shape), [pitch, 1], [1, block_m])
    boxed = made.constants["TMA"] and not (run.packed and region.stride > 1)
    values |= {"n_rows": pitch, "ROW_STATS": box_of_stats if boxed else Slot(stats)}
    if run.packed:
        laid, programs = lay_sequence_tiles(run, kernel, own, values, made.blocks)
        run.launch(dkdv_kernel, (programs, own.keys, 1), values | laid, made.options)
        return
    tiles = region.stride * cdiv(cdiv(k.shape[2], region.stride), block_n)
    values |= read_besides(region, "columns", n_q, n, q_offset, made.blocks, q.device) | read_inputs(run)
    listed, split = lay_data_tiles(run, kernel, own, values, q_offset, made.blocks)
    if kernel.split_prefix and not listed:
        steps = heads // kv_heads * cdiv(n_q, block_m)
        split = split_first_tiles(kernel.split_prefix, k.shape[2], block_n, steps, own.keys, batch, kv_heads)
    values |= listed
    if split is None:
        run.launch(dkdv_kernel, (tiles, own.keys, batch), values, made.options)
        beside_join(run, "DQ")
        return
    values |= split.values | lay_splits(run, split, {"DK_SPLITS": k.shape[3:], "DV_SPLITS": v.shape[3:]})
    run.launch(dkdv_kernel, (tiles + split.programs, own.keys, batch), values, made.options)
    beside_join(run, "DQ")
    for part, name in enumerate(("DK", "DV")):
        joined = {"SPLITS": Slot(f"{name}_SPLITS"), "OUT": Slot(target[name]), "HEADS": own.lists.get("KV_HEADS")}
        if kernel.carries and split.slots:
            run.part(f"{top}_{part}", top, part)
            joined["OUT_TOP"] = Slot(f"{top}_{part}")
        join_splits(run, reduce_splits, split, joined)
    beside_join(run, target["DK"])
