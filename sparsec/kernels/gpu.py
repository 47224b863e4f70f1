"""Forward and backward pass of GPU tensors: which kernels are launched, on what, in which order."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.device import LOG2_E, combine_splits, reduce_splits
from sparsec.kernels.direct import Box
from sparsec.kernels.hardware import device_tier, dot_precision, gpu_name
from sparsec.kernels.launch import Environment, Meta, Pass, Slot
from sparsec.kernels.memory import FAR, dense_strides, empty_as
from sparsec.kernels.program import WHOLE_ROWS, WORD, Group, Kernel, Program, Region, cdiv, gathered_keys
from sparsec.kernels.settings import SETTINGS, TMA_LENGTH, TMA_STILL
from sparsec.kernels.tile_lists import read_besides

LOG2_E_FLOAT: float = getattr(LOG2_E, "value", LOG2_E)
_SPLIT_ROWS = 16  # of a program that adds up what programs left that split a tile
_MOST_PASSES = 128  # that are kept prepared


def forward_gpu(
    program: Program, q: Tensor, k: Tensor, v: Tensor, scale: float, q_offset: int
) -> tuple[Tensor, Tensor]:
    """out like q, and the log-sum-exp [B, H, n_q] in float32."""
    if q.numel() * k.numel() == 0:  # no row to fill, or no key to fill it from
        return empty_as(q).zero_(), q.new_full(q.shape[:3], float("-inf"), dtype=torch.float32)
    q, k, v = as_readable(q), as_readable(k), as_readable(v)
    run = prepared_forward(program, q, k, v, q_offset)
    env = run({"Q": q, "K": k, "V": v, "scale_log2": scale * LOG2_E_FLOAT})
    return env["OUT"], env["LSE"]


def prepared_forward(program: Program, q: Tensor, k: Tensor, v: Tensor, q_offset: int) -> Pass:
    """The forward pass for such tensors, all readable."""
    strides = q.stride(), k.stride(), v.stride()
    key = "forward", q.shape, k.shape, strides, q.dtype, q.device, q_offset, dot_precision(q.dtype)
    run = program.passes.get(key)
    if run is None:
        run = _remember(program, key, _forward_pass(program, Meta.of(q), Meta.of(k), Meta.of(v), q_offset))
    return run


def backward_gpu(
    program: Program,
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    dlse: Tensor | None,
    scale: float,
    q_offset: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v, where g and dlse are those of out and of the log-sum-exp."""
    if q.numel() * k.numel() == 0:
        return empty_as(q).zero_(), empty_as(k).zero_(), empty_as(k).zero_()
    env = backward_inputs(g, q, k, v, out, lse, dlse, scale)
    prepared_backward(program, env, q_offset)(env)
    return env["DQ"], env["DK"], env["DV"]


def backward_inputs(
    g: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, dlse: Tensor | None, scale: float
) -> Environment:
    """What a backward pass starts from, by name."""
    env = {"Q": as_readable(q), "K": as_readable(k), "V": as_readable(v), "DO": as_readable(g)}
    env |= {"OUT": as_readable(out), "LSE": as_contiguous(lse), "scale": scale, "scale_log2": scale * LOG2_E_FLOAT}
    if dlse is not None:
        env["DLSE"] = as_contiguous(dlse)
    return env


def prepared_backward(program: Program, env: Environment, q_offset: int) -> Pass:
    """The backward pass for such inputs; its parts are "dq" and "dkdv"."""
    q, k, v, g, out = (env[name] for name in ("Q", "K", "V", "DO", "OUT"))
    strides = (*q.stride(), *k.stride(), *v.stride(), *g.stride(), *out.stride())
    key = "backward", q.shape, k.shape, strides, q.dtype, q.device, q_offset, "DLSE" in env, dot_precision(q.dtype)
    run = program.passes.get(key)
    if run is None:
        metas = {name: Meta.of(env[name]) for name in ("Q", "K", "V", "DO", "OUT")}
        run = _remember(program, key, _backward_pass(program, metas, q_offset, "DLSE" in env))
    return run


def _remember(program: Program, key: tuple, made: Pass) -> Pass:
    while len(program.passes) >= _MOST_PASSES:
        program.passes.pop(next(iter(program.passes)), None)
    program.passes[key] = made
    return made


# ---------------------------------------------------------------- tensors that kernels can read


def as_readable(x: Tensor) -> Tensor:
    """x, or a copy of it: strides are passed in units of 8 elements, and a tile's own offsets fit 32 bits."""
    b, h, m, d = x.stride()
    fits = d == 1 and not (b | h | m) % 8 and m < FAR and x.data_ptr() % 16 == 0
    return x if fits else empty_as(x).copy_(x)


def as_contiguous(x: Tensor) -> Tensor:
    """x, or a copy of it, contiguous and from a multiple of 16 bytes on."""
    return x if x.is_contiguous() and x.data_ptr() % 16 == 0 else x.clone(memory_format=torch.contiguous_format)


def _strides(**tensors: Meta) -> Environment:
    """q_b, q_h, q_m, ...: in units of 8 elements."""
    return {
        f"{name}_{axis}": stride // 8
        for name, x in tensors.items()
        for axis, stride in zip("bhn" if name in "kv" else "bhm", x.strides[:3], strict=True)
    }


# ---------------------------------------------------------------- what a launch needs


class Prepared(NamedTuple):
    """Constants and options of a launch, and which tensors come through descriptors."""

    blocks: tuple[int, int]  # BLOCK_M, BLOCK_N
    constants: Environment
    options: dict[str, Any]


def prepare_launch(program: Program, kernel: Kernel, own: Environment, moving: Environment, q_offset: int) -> Prepared:
    """Tile sizes of a kernel, by device and sizes, and descriptors where these pay.

    `own`: names and metas of what a program loads once; `moving`: of what its loop goes over; [B, H, n, D] each.
    """
    first: Meta = next(iter(own.values()))
    width, head_dim = first.dtype.itemsize, first.shape[3]
    size = max(16, 1 << (head_dim - 1).bit_length())
    own_tier, tma = device_tier(first.device, width), False
    if own_tier == "tma" and not _boxed(moving.values(), kernel.stride, TMA_LENGTH):
        own_tier = "large"
    if kernel.listed and own_tier != "small" and width == 2:
        own_tier = "listed"
    tuned = program.tuned.get((gpu_name(first.device), own_tier, first.dtype, size, kernel.run.__name__))
    block_m, block_n, warps, stages, registers = tuned or getattr(SETTINGS[own_tier, width, size], kernel.kind)
    if kernel.listed:
        block_m, block_n = min(block_m, WORD), min(block_n, WORD)
    if kernel.block > 1:  # tiles across blocks would need masks
        rows, columns = math.gcd(block_m, kernel.block), math.gcd(block_n, kernel.block)
        if 32 <= rows < block_m:
            block_m, warps = rows, max(4, warps * rows // block_m)
        if 32 <= columns < block_n:
            block_n = columns
    constants: Environment = {"HEAD_DIM": head_dim, "BLOCK_M": block_m, "BLOCK_N": block_n, "BLOCK_D": size}
    options = {"num_warps": warps, "num_stages": stages, **({"maxnreg": registers} if registers else {})}
    own_tma = False
    if own_tier == "tma":
        sides = (block_n, block_m) if kernel.kind == "dkdv" else (block_m, block_n)
        tma = True
        own_tma = _boxed(own.values(), kernel.stride, TMA_STILL)
        for names, rows, wanted in ((own, sides[0], own_tma), (moving, sides[1], tma)):
            if wanted:
                constants |= {name: tma_box(name, x, kernel.stride, rows, size) for name, x in names.items()}
    constants |= {"PRECISION": dot_precision(first.dtype), "TMA": tma, "OWN_TMA": own_tma}
    if kernel.numbers:
        constants["NUMBERS"] = kernel.numbers
    if kernel.block > 1:
        constants["WHOLE"] = kernel.block % block_m == kernel.block % block_n == q_offset % block_m == 0
    return Prepared((block_m, block_n), constants, options)


def _boxed(tensors: Any, stride: int, least: int) -> bool:
    """Whether tensors of one length are worth descriptors, and can have them: classes need equally many rows."""
    metas = list(tensors)
    length = metas[0].shape[2]
    return length >= least and length % stride == 0 and not any(0 in x.strides for x in metas)


def tma_box(name: str, x: Meta, stride: int, rows: int, columns: int) -> Box:
    """x [B, H, n, D] for the tensor memory accelerator; a residue class is a dimension of its own."""
    shape, strides, block = list(x.shape), list(x.strides), [1, 1, rows, columns]
    if stride > 1:
        shape[2:3], strides[2:3] = [stride, shape[2] // stride], [strides[2], stride * strides[2]]
        block = [1, *block]
    return Box(name, shape, strides, block)


def _query_tiles(kernel: Kernel, rows: int, block: int) -> int:
    """Programs that tile `rows` queries; every residue class has tiles of its own."""
    return kernel.stride * cdiv(cdiv(rows, kernel.stride), block)


# ---------------------------------------------------------------- heads


class Heads(NamedTuple):
    """The heads of a group, as kernels read them."""

    queries: int  # how many query heads
    keys: int  # how many key heads these share
    lists: Environment  # HEADS, KV_HEADS, FIRST_HEAD where kernels serve lists


@functools.lru_cache(maxsize=64)
def _lists(own: tuple[int, ...], shared_by: int, device: torch.device) -> Environment:
    """A group's query heads; its key heads; where the query heads of each key head start in the first list."""
    shared = sorted({head // shared_by for head in own})
    first = [sum(head // shared_by < kv_head for head in own) for kv_head in shared] + [len(own)]
    names = ("HEADS", "KV_HEADS", "FIRST_HEAD")
    return {
        name: torch.tensor(x, dtype=torch.int32, device=device)
        for name, x in zip(names, (own, shared, first), strict=True)
    }


def _heads(group: Group, q: Meta, k: Meta) -> Heads:
    heads, kv_heads = q.shape[1], k.shape[1]
    if group.heads is None:
        return Heads(heads, kv_heads, {})
    lists = _lists(group.heads, heads // kv_heads, q.device)
    return Heads(len(group.heads), len(lists["KV_HEADS"]), lists)


def _shared_keys(program: Program, heads: int, kv_heads: int) -> bool:
    """Whether query heads of different groups share a key head."""
    own = [{head // (heads // kv_heads) for head in group.heads} for group in program.groups if group.heads is not None]
    return sum(map(len, own)) > kv_heads


# ---------------------------------------------------------------- gathered keys, carried state, split tiles


def _gather(run: Pass, names: str, region: Region) -> Environment:
    """Keys and values of a gathered region side by side: contiguous [B, H_kv, keys, D].  Their names and metas."""
    assert region.gathered is not None
    made = {}
    for name in names:
        x, to = run.metas[name], f"{name}_GATHERED{region.name.upper()}"
        keys = gathered_keys(x.shape[2], region.gathered, x.device)
        run.metas[to] = Meta.contiguous((*x.shape[:2], len(keys), x.shape[3]), x.dtype, x.device)
        run.step(lambda env, to=to, name=name, keys=keys: env.__setitem__(to, env[name].index_select(2, keys)))
        made[to] = run.metas[to]
    return made


def _carry(run: Pass, name: str, like: Meta, names: tuple[str, ...]) -> None:
    """Room for sums like a tensor that the next kernel goes on with, and for the largest number of each row."""
    for each in names:
        run.empty(each, like.shape, torch.float32 if like.dtype == torch.float32 else torch.float16)
    run.empty(name, (len(names), *like.shape[:3]), torch.float32)


def _splits(long: int, length: int, block: int, steps: int, lines: int) -> tuple[int, int]:
    """(tiles, programs a tile) of the leading tiles, those below `long`, whose steps programs split."""
    tiles = cdiv(min(max(long, 0), length), block)
    splits = min(steps // 16, 64, 2048 // max(tiles * lines, 1))
    return (tiles, splits) if splits > 1 else (0, 1)


def _join(run: Pass, kernel: Any, splits: str, values: Environment, heads: Heads, carry: bool) -> None:
    """The rows that programs split, in one: from SPLITS [splits, B, H, rows, D] to OUT [B, H, length, D]."""
    parts, batch, lines, rows, head_dim = run.metas[splits].shape
    out = run.metas[values["OUT"].name]
    length = out.shape[2]
    listed = values["HEADS"] is not None
    constants = {"HEAD_DIM": head_dim, "BLOCK": _SPLIT_ROWS, "LISTED": listed, "CARRY": carry}
    constants["BLOCK_D"] = max(16, 1 << (head_dim - 1).bit_length())
    sizes = {"heads": lines, "length": length, "n_q": length, "rows": rows, "splits": parts}
    any_tensor = Slot(splits)  # in place of what is not read
    values = {"SPLITS": Slot(splits), "OUT_TOP": any_tensor, **values, **constants, **sizes, **_strides(r=out)}
    values["HEADS"] = values["HEADS"] if listed else any_tensor
    run.launch(kernel, (cdiv(min(rows, length), _SPLIT_ROWS), heads.queries, batch), values)


# ---------------------------------------------------------------- forward


def _forward_pass(program: Program, q: Meta, k: Meta, v: Meta, q_offset: int) -> Pass:
    run = Pass(program, Q=q, K=k, V=v)
    batch, heads, n_q, _ = q.shape
    kv_heads, n = k.shape[1], k.shape[2]
    out = run.empty("OUT", q.shape, q.dtype, dense_strides(q.shape, q.strides))
    run.empty("LSE", q.shape[:3], torch.float32)
    for group in program.groups:
        own, kernels = _heads(group, q, k), group.at(n).of("forward")
        if any(kernel.carries for kernel in kernels):
            _carry(run, "CARRY_TOP", q, ("CARRY",))
        for kernel in kernels:
            moving = _moving(run, kernel)
            made = prepare_launch(program, kernel, {"Q": q}, moving, q_offset)
            block_m, block_n = made.blocks
            values = _strides(q=q, k=k, v=v, r=out) | {"GROUP": heads // kv_heads, "heads": heads, "n_q": n_q, "n": n}
            values |= {"q_offset": q_offset, **own.lists, **made.constants}
            values |= {"PARTIAL": Slot("CARRY"), "PARTIAL_TOP": Slot("CARRY_TOP"), "OUT_TOP": Slot("CARRY_TOP")}
            values["OUT"] = Slot("CARRY" if kernel.carries else "OUT")
            tiles, long = _query_tiles(kernel, n_q, block_m), 0
            if kernel.split_prefix:
                steps = cdiv(n, block_n)
                long, parts = _splits(kernel.split_prefix - q_offset, n_q, block_m, steps, own.queries * batch)
                shape = parts, batch, heads, long * block_m
                run.empty("SPLITS", (*shape, q.shape[3]), torch.float32)
                run.empty("SPLITS_LSE", shape, torch.float32)
                values |= {"split_tiles": long, "splits": parts}
                tiles += long * (parts - 1)
            for region in kernel.regions:
                values |= read_besides(region, "rows", n_q, n, q_offset, made.blocks, q.device)
            run.launch(kernel.run, (tiles, own.queries, batch), values, made.options)
            if long:
                joined = {"OUT": values["OUT"], "HEADS": own.lists.get("HEADS")}
                joined |= {"SPLITS_LSE": Slot("SPLITS_LSE")} | (
                    {"OUT_TOP": Slot("CARRY_TOP")} if kernel.carries else {}
                )
                _join(run, combine_splits, "SPLITS", joined, own, carry=kernel.carries)
    return run


def _moving(run: Pass, kernel: Kernel) -> Environment:
    """Names and metas of the keys and values that a kernel goes over."""
    moving: Environment = {}
    for region in kernel.regions:
        moving |= _gather(run, "KV", region) if region.gathered else {name: run.metas[name] for name in "KV"}
    return moving


# ---------------------------------------------------------------- backward


def _backward_pass(program: Program, metas: Environment, q_offset: int, has_dlse: bool) -> Pass:
    q, k = metas["Q"], metas["K"]
    outputs = {name: Meta.contiguous(q.shape[:3], torch.float32, q.device) for name in ("LSE", "DLSE")}
    run = Pass(program, **metas, **outputs)
    passes = [group.at(k.shape[2]).of("dq") for group in program.groups]
    strides = {kernel.stride for kernels in passes for kernel in kernels}
    alone = all(len(kernels) == 1 for kernels in passes)
    lines = q.shape[0] * q.shape[1]
    if 1 in strides or not alone:
        run.empty("STATS_1", (2 * lines, cdiv(q.shape[2], WHOLE_ROWS) * WHOLE_ROWS), torch.float32)
    for stride in sorted(strides - {1}):
        _class_stats(run, q, stride)
    run.begin("dq")
    _launch_dq(run, q_offset, has_dlse)
    run.begin("dkdv")
    _launch_dkdv(run, q_offset)
    return run


def _class_stats(run: Pass, q: Meta, stride: int) -> None:
    """Room for two numbers of every row, each residue class side by side in whole tiles of any BLOCK_M.

    [2 * lines * stride, n_class_rows].  Rows beyond n_q have no weights: a log-sum-exp of inf, and a delta of 0.
    """
    lines, n_q = q.shape[0] * q.shape[1] * stride, q.shape[2]
    length = cdiv(cdiv(n_q, stride), WHOLE_ROWS) * WHOLE_ROWS
    name = f"STATS_{stride}"
    run.empty(name, (2 * lines, length), torch.float32)
    if n_q < stride * length:
        run.step(lambda env: env[name][:lines].fill_(float("inf")))
        run.step(lambda env: env[name][lines:].zero_())


def _launch_dq(run: Pass, q_offset: int, has_dlse: bool) -> None:
    """The gradient of q.  Fills the STATS of every stride with log-sum-exps in base 2 and deltas."""
    program, q, k, v, g = run.program, *(run.metas[name] for name in ("Q", "K", "V", "DO"))
    batch, heads, n_q, head_dim = q.shape
    kv_heads, n = k.shape[1], k.shape[2]
    dq = run.empty("DQ", q.shape, q.dtype, dense_strides(q.shape, q.strides))
    for group in program.groups:
        own, kernels = _heads(group, q, k), group.at(n).of("dq")
        if any(kernel.carries for kernel in kernels):
            _carry(run, "CARRY_TOP", q, ("CARRY",))
        for kernel in kernels:
            moving = _moving(run, kernel)
            made = prepare_launch(program, kernel, {"Q": q, "DO": g}, moving, q_offset)
            block_m, block_n = made.blocks
            values = _strides(q=q, k=k, v=v, g=g, o=run.metas["OUT"], r=dq)
            values |= {"GROUP": heads // kv_heads, "heads": heads, "n_q": n_q, "n": n}
            values |= {"q_offset": q_offset, "HAS_DLSE": has_dlse, **own.lists, **made.constants}
            values |= {} if has_dlse else {"DLSE": Slot("LSE")}  # in place of what is not read
            values |= {"PARTIAL": Slot("CARRY"), "PARTIAL_TOP": Slot("CARRY_TOP"), "DQ_TOP": Slot("CARRY_TOP")}
            values["DQ"] = Slot("CARRY" if kernel.carries else "DQ")
            n_rows = cdiv(n_q, WHOLE_ROWS) * WHOLE_ROWS
            values |= {"ROW_STATS": Slot("STATS_1"), "n_rows": n_rows}
            if kernel.stride > 1:
                stats = f"STATS_{kernel.stride}"
                values |= {"CLASS_STATS": Slot(stats), "n_class_rows": run.metas[stats].shape[1]}
            tiles, long = _query_tiles(kernel, n_rows, block_m), 0
            if kernel.split_prefix:
                steps = cdiv(n, block_n)
                long, parts = _splits(kernel.split_prefix - q_offset, n_q, block_m, steps, own.queries * batch)
                run.empty("SPLITS", (parts, batch, heads, long * block_m, head_dim), torch.float32)
                values |= {"split_tiles": long, "splits": parts}
                tiles += long * (parts - 1)
            for region in kernel.regions:
                values |= read_besides(region, "rows", n_q, n, q_offset, made.blocks, q.device)
            run.launch(kernel.run, (tiles, own.queries, batch), values, made.options)
            if long:
                joined = {"OUT": values["DQ"], "HEADS": own.lists.get("HEADS")}
                joined |= {"OUT_TOP": Slot("CARRY_TOP")} if kernel.carries else {}
                _join(run, reduce_splits, "SPLITS", joined, own, carry=kernel.carries)


def _launch_dkdv(run: Pass, q_offset: int) -> None:
    """The gradients of k and v from the STATS that the kernels for dq leave."""
    program, q, k, v = run.program, *(run.metas[name] for name in "QKV")
    kv_heads, n = k.shape[1], k.shape[2]
    # Where query heads of one key head stand in several groups, or gathered keys are all there is, sums start at 0.
    kernels = [group.at(n).of("dkdv") for group in program.groups]
    alone = [all(kernel.regions[0].gathered for kernel in each) for each in kernels]
    shared = any(alone) or (program.by_head and _shared_keys(program, q.shape[1], kv_heads))
    dense = dense_strides(k.shape, k.strides)  # of both: kernels know one layout
    for name in ("DK", "DV"):
        run.zeros(name, k.shape, torch.float32, dense) if shared else run.empty(name, k.shape, k.dtype, dense)
    for group, each, no_other in zip(program.groups, kernels, alone, strict=True):
        own = _heads(group, q, k)
        if any(kernel.carries for kernel in each):
            _carry(run, "CARRY_DKDV_TOP", k, ("CARRY_DK", "CARRY_DV"))
        for kernel in each:
            _launch_dkdv_kernel(run, kernel, own, shared, q_offset)
        if no_other:
            for kernel in each:
                _scatter(run, kernel.regions[0], n)
    if shared:
        for name, dtype, scaled in (("DK", k.dtype, True), ("DV", v.dtype, False)):
            run.step(lambda env, name=name, dtype=dtype, scaled=scaled: _finish(env, name, dtype, scaled))


def _finish(env: Environment, name: str, dtype: torch.dtype, scaled: bool) -> None:
    x = env[name].mul_(env["scale"]) if scaled else env[name]
    env[name] = x.to(dtype)


def _scatter(run: Pass, region: Region, n: int) -> None:
    """Adds the sums of gathered keys to dk and dv, where no kernel does."""
    assert region.gathered is not None
    keys = gathered_keys(n, region.gathered, run.device)
    for name in ("DK", "DV"):
        some = f"{name}_GATHERED{region.name.upper()}"
        run.step(lambda env, name=name, some=some: env[name].index_add_(2, keys, env[some]))


def _launch_dkdv_kernel(run: Pass, kernel: Kernel, own: Heads, shared: bool, q_offset: int) -> None:
    (region,) = kernel.regions
    program, q, k, v, g = run.program, *(run.metas[name] for name in ("Q", "K", "V", "DO"))
    batch, heads, n_q, head_dim = q.shape
    kv_heads, n = k.shape[1], k.shape[2]
    # Where this region's keys and values come from, and where its dk and dv go.
    source, target, top = {"K": "K", "V": "V"}, {"DK": "DK", "DV": "DV"}, "CARRY_DKDV_TOP"
    if region.gathered:
        gathered = _gather(run, "KV", region)
        k, v = gathered.values()
        source = dict(zip("KV", gathered, strict=True))
        target = {name: f"{name}_GATHERED{region.name.upper()}" for name in ("DK", "DV")}
        for name, x in zip(target.values(), (k, v), strict=True):
            run.zeros(name, x.shape, torch.float32)
    elif kernel.carries:
        target = {"DK": "CARRY_DK", "DV": "CARRY_DV"}
    made = prepare_launch(program, kernel, {"K": k, "V": v}, {"Q": q, "DO": g}, q_offset)
    block_m, block_n = made.blocks
    values = _strides(q=q, k=k, v=v, g=g, r=run.metas[target["DK"]])
    values |= {"GROUP": heads // kv_heads, "heads": heads, "n_q": n_q, "n": n}
    values |= {"q_offset": q_offset, "SHARED": shared, **own.lists, **made.constants}
    for name, stored in {**source, **target}.items():
        made_box = values.get(name)
        values[name] = made_box._replace(name=stored) if isinstance(made_box, Box) else Slot(stored)
    values |= {"PARTIAL_DK": Slot("CARRY_DK"), "PARTIAL_DV": Slot("CARRY_DV"), "PARTIAL_TOP": Slot(top)}
    values["DKDV_TOP"] = Slot(top)
    stats = f"STATS_{region.stride}"
    pitch = run.metas[stats].shape[1]
    box_of_stats = Box(stats, list(run.metas[stats].shape), [pitch, 1], [1, block_m])
    values |= {"n_rows": pitch, "ROW_STATS": box_of_stats if made.constants["TMA"] else Slot(stats)}
    tiles, long = region.stride * cdiv(cdiv(k.shape[2], region.stride), block_n), 0
    if kernel.split_prefix:
        steps = heads // kv_heads * cdiv(n_q, block_m)
        long, parts = _splits(kernel.split_prefix, k.shape[2], block_n, steps, own.keys * batch)
        for name in ("DK_SPLITS", "DV_SPLITS"):
            run.empty(name, (parts, batch, kv_heads, long * block_n, head_dim), torch.float32)
        values |= {"split_tiles": long, "splits": parts}
        tiles += long * (parts - 1)
    values |= read_besides(region, "columns", n_q, n, q_offset, made.blocks, q.device)
    run.launch(kernel.run, (tiles, own.keys, batch), values, made.options)
    if long:
        for part, name in enumerate(("DK", "DV")):
            joined = {"OUT": Slot(target[name]), "HEADS": own.lists.get("KV_HEADS")}
            if kernel.carries:
                run.metas[f"{top}_{part}"] = Meta.contiguous(k.shape[:3], torch.float32, k.device)
                run.step(lambda env, part=part: env.__setitem__(f"{top}_{part}", env[top][part]))
                joined["OUT_TOP"] = Slot(f"{top}_{part}")
            _join(run, reduce_splits, f"{name}_SPLITS", joined, own._replace(queries=own.keys), kernel.carries)
