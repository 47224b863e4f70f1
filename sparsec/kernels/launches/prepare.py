"""What a launch needs: tile sizes, constants and descriptors; strides; the heads of a group."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from sparsec.kernels.launches.direct import Box
from sparsec.kernels.launches.launch import Environment, Meta, Slot
from sparsec.kernels.machine.hardware import device_tier, dot_precision, gpu_name
from sparsec.kernels.machine.settings import SETTINGS, TMA_LENGTH, TMA_STILL, Setting
from sparsec.kernels.program.program import WORD, Answers, Group, Kernel, Program, Region, cdiv

_NEAR = 1 << 22


class Prepared(NamedTuple):
    """Constants and options of a launch, and which tensors come through descriptors."""

    blocks: tuple[int, int]  # BLOCK_M, BLOCK_N
    constants: Environment
    options: dict[str, Any]


def prepare_launch(
    program: Program,
    kernel: Kernel,
    own: Environment,
    moving: Environment,
    q_offset: int,
    packed: bool = False,
    gathers: bool = False,
) -> Prepared:
    """Tile sizes of a kernel, by device and sizes, and descriptors where these pay.

    `own`: names and metas of what a program loads once; `moving`: of what its loop goes over; [B, H, n, D] each,
    V among them.
    `packed`: tiles are those of several sequences.  `gathers`: rows of a step stand apart.
    """
    first: Meta = next(iter(own.values()))
    width, tensors = first.dtype.itemsize, own | moving
    head_dim, v_dim = tensors["K"].shape[3], tensors["V"].shape[3]
    size = padded(max(head_dim, v_dim))  # settings are for the larger one
    own_tier, tma = device_tier(first.device, width), False
    if own_tier == "tma":
        tma = _boxed(moving.values(), kernel.stride, TMA_LENGTH)
        decided = kernel.regions[0].answers.judge and len(kernel.regions[0].inputs) == 1  # others would spill
        special = "packed" if packed else "data" if decided else "tma"
        if packed and kernel.regions[0].tables and ("tables", width, size) in SETTINGS:
            special = "tables"
        own_tier = "large" if not tma else special if (special, width, size) in SETTINGS else "tma"
    if kernel.listed and own_tier != "small" and width == 2:
        own_tier, tma = "listed", False
    if gathers and own_tier != "small" and width == 2:
        own_tier, tma = "gathered", False
    block_m, block_n, warps, stages, registers = _setting(program, kernel, first, own_tier, size)
    if kernel.listed:
        block_m, block_n = min(block_m, WORD), min(block_n, WORD)
    if kernel.block > 1:  # tiles across blocks would need masks
        rows, columns = math.gcd(block_m, kernel.block), math.gcd(block_n, kernel.block)
        if 32 <= rows < block_m:
            block_m, warps = rows, max(4, warps * rows // block_m)
        if 32 <= columns < block_n:
            block_n = columns
    constants: Environment = {"HEAD_DIM": head_dim, "BLOCK_M": block_m, "BLOCK_N": block_n}
    constants |= {"BLOCK_D": padded(head_dim), "V_DIM": v_dim, "BLOCK_V": padded(v_dim)}
    options = _options(warps, stages, registers)
    own_tma = False
    if tma:
        sides = (block_n, block_m) if kernel.kind == "dkdv" else (block_m, block_n)
        own_tma = _boxed(own.values(), kernel.stride, TMA_STILL)
        for names, rows, wanted in ((own, sides[0], own_tma), (moving, sides[1], tma)):
            if wanted:
                constants |= {name: tma_box(name, x, kernel.stride, rows) for name, x in names.items()}
    constants |= {"PRECISION": dot_precision(first.dtype), "TMA": tma, "OWN_TMA": own_tma}
    constants |= rules_of(kernel)
    constants |= {"NAME": kernel.name, "LONGEST_FIRST": kernel.longest_first}
    constants |= {"STRIDE": kernel.stride, "TOGETHER": kernel.together, "NUMBERS": kernel.numbers or None}
    aligned = kernel.block % block_m == kernel.block % block_n == q_offset % block_m == 0
    constants["WHOLE"] = kernel.block > 1 and aligned and not packed
    return Prepared((block_m, block_n), constants, options)


def are_near(positions: int) -> bool:
    """Whether so many positions are NEAR, as `real_distance` wants them."""
    return positions <= _NEAR


def group_setting(program: Program, kernel: Kernel, x: Meta) -> tuple[tuple[int, int], dict[str, Any]]:
    """Tile sizes and options of a kernel over groups of tokens; x: a tensor of the call."""
    width, size = x.dtype.itemsize, padded(x.shape[3])
    own_tier = device_tier(x.device, width)
    if own_tier != "small":
        own_tier = "grouped" if width == 2 else "large"
    block_m, block_n, warps, stages, registers = _setting(program, kernel, x, own_tier, size)
    return (block_m, block_n), _options(warps, stages, registers)


def gathered_setting(program: Program, kernel: Kernel, x: Meta) -> tuple[tuple[int, int], dict[str, Any]]:
    """Tile sizes and options of a kernel that gathers keys; x: a tensor of the call."""
    width, size = x.dtype.itemsize, padded(x.shape[3])
    own_tier = device_tier(x.device, width)
    if own_tier != "small":
        own_tier = "gathered" if width == 2 else "large"
    block_m, block_n, warps, stages, registers = _setting(program, kernel, x, own_tier, size)
    return (block_m, block_n), _options(warps, stages, registers)


def _setting(program: Program, kernel: Kernel, x: Meta, tier: str, size: int) -> Setting:
    """Rows and columns of a tile, warps, stages, and registers at most: tuned for the GPU of x, or the tier's."""
    tuned = program.tuned.get((gpu_name(x.device), tier, x.dtype, size, kernel.name))
    return tuned or getattr(SETTINGS[tier, x.dtype.itemsize, size], kernel.kind)


def _options(warps: int, stages: int, registers: int | None) -> dict[str, Any]:
    """What Triton compiles a kernel for."""
    return {"num_warps": warps, "num_stages": stages, **({"maxnreg": registers} if registers else {})}


def padded(head_dim: int) -> int:
    """Columns of a tile for a head size: a power of two."""
    return max(16, 1 << (head_dim - 1).bit_length())


def _boxed(tensors: Any, stride: int, least: int) -> bool:
    """Whether tensors of one length are worth descriptors, and can have them: classes need equally many rows."""
    metas = list(tensors)
    length = metas[0].shape[2]
    return length >= least and length % stride == 0 and not any(0 in x.strides for x in metas)


def tma_box(name: str, x: Meta, stride: int, rows: int) -> Box:
    """x [B, H, n, D] for the tensor memory accelerator; a residue class is a dimension of its own."""
    shape, strides, block = list(x.shape), list(x.strides), [1, 1, rows, padded(x.shape[3])]
    if stride > 1:
        shape[2:3], strides[2:3] = [stride, shape[2] // stride], [strides[2], stride * strides[2]]
        block = [1, *block]
    return Box(name, shape, strides, block)


def rules_of(kernel: Kernel) -> Environment:
    """What a kernel is told of its regions by constants."""
    side, visits = ("columns", "QUERIES") if kernel.kind == "dkdv" else ("rows", "KEYS")
    told: Environment = {}
    for place, region in enumerate(kernel.regions):
        own = _asked(region, side)
        answered = {"KEEP": own.keep, "FULL": own.full, visits: getattr(own, visits.lower())}
        told |= {slot(name, place): value for name, value in {**answered, "GATHERED": region.gathered}.items()}
    first = kernel.regions[0]
    told |= {"SCORE": first.answers.score, "KEEP_STATIC": first.answers.keep_static if first.answers.judge else None}
    if kernel.kind != "forward":
        told["SCORE_GRADIENT"] = first.answers.score_gradient
    listed = first.columns_tables if kernel.kind == "dkdv" else first.rows_tables
    return told | {"LISTS_FILL": (first.tables_fill and bool(listed)) or first.answers.judge is not None}


def _asked(region: Region, side: str) -> Answers:
    """What kernels ask about a region themselves."""
    if side in region.tile_lists:
        return Answers()  # lists say which tiles there are, with their masks
    if region.answers.judge:  # lists of the call say which tiles there are
        return Answers(keep=region.answers.keep)
    return region.answers


def slot(name: str, place: int) -> str:
    """The parameter of a kernel for its region number `place`: K, K_1, K_2."""
    return f"{name}_{place}" if place else name


def bind(values: Environment, stored: Mapping[str, str]) -> None:
    """Fills in tensors of the call, by the names that they have there; through descriptors where these are prepared."""
    for name, of_call in stored.items():
        box = values.get(name)
        values[name] = box._replace(name=of_call) if isinstance(box, Box) else Slot(of_call)


def query_tiles(kernel: Kernel, rows: int, block: int) -> int:
    """Programs that tile `rows` queries; every residue class has tiles of its own."""
    return kernel.stride * cdiv(cdiv(rows, kernel.stride), block)


def strides_by_name(**tensors: Meta) -> Environment:
    """q_b, q_h, q_m, ...: in units of 8 elements."""
    return {
        f"{name}_{axis}": stride // 8
        for name, x in tensors.items()
        for axis, stride in zip("bhn" if name in "kv" else "bhm", x.strides[:3], strict=True)
    }


# ---------------------------------------------------------------- heads


class Heads(NamedTuple):
    """The heads of a group, as kernels read them."""

    queries: int  # how many query heads
    keys: int  # how many key heads these share
    lists: Environment  # HEADS, KV_HEADS, FIRST_HEAD where kernels serve lists


@functools.lru_cache(maxsize=64)
def _head_lists(own: tuple[int, ...], shared_by: int, device: torch.device) -> Environment:
    """A group's query heads; its key heads; where the query heads of each key head start in the first list."""
    shared = sorted({head // shared_by for head in own})
    first = [sum(head // shared_by < kv_head for head in own) for kv_head in shared] + [len(own)]
    names = ("HEADS", "KV_HEADS", "FIRST_HEAD")
    return {
        name: torch.tensor(x, dtype=torch.int32, device=device)
        for name, x in zip(names, (own, shared, first), strict=True)
    }


def heads_of(group: Group, q: Meta, k: Meta) -> Heads:
    heads, kv_heads = q.shape[1], k.shape[1]
    if group.heads is None:
        return Heads(heads, kv_heads, {})
    lists = _head_lists(group.heads, heads // kv_heads, q.device)
    return Heads(len(group.heads), len(lists["KV_HEADS"]), lists)
