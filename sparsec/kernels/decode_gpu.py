"""A decoding step of GPU tensors: units of rows, how many programs share one, and the launches."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.decode_kernel import decode_kernel, merge_parts_kernel
from sparsec.kernels.decode_pages import Pages
from sparsec.kernels.decode_program import StepGroup, StepRegion, Steps
from sparsec.kernels.device import LOG2_E_FLOAT
from sparsec.kernels.hardware import device_tier, dot_precision, processors
from sparsec.kernels.launch import Environment, Meta, Pass, Slot, Tables, remember
from sparsec.kernels.prepare import are_near, padded, slot
from sparsec.kernels.program import cdiv

_UNIT_ROWS = 64  # heads by rows of a unit, at most
_UNIT_COLUMNS = 1 << 14  # of all rows of a unit, at most, where a row has so many that fewer must do
_WIDE = 256  # columns of keys, above which a unit has more warps
_MERGED = 16  # parts of a block of the kernel that joins them


class StepSetting(NamedTuple):
    """How a step is cut into programs."""

    tile_bytes: int = 1 << 14  # of keys of a tile
    warps: int = 4
    stages: int = 2
    paged_stages: int = 3  # numbers of pages are loaded a step ahead of their keys
    waves: int = 2  # programs for each processor, at least
    share: int = 32  # tiles of a program, at most, as far as `most_parts` allows
    least_share: int = 2  # at least, but where there are fewer tiles than programs
    most_parts: int = 128


LARGE_STEP = StepSetting()
SMALL_STEP = StepSetting(tile_bytes=1 << 13, paged_stages=2)


def step_setting(device: torch.device, width: int) -> StepSetting:
    """The setting of a device for elements of so many bytes."""
    return SMALL_STEP if device_tier(device, width) == "small" else LARGE_STEP


def prepared_step(
    steps: Steps, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, pages: Pages, sinks: Tensor | None,
    out: Tensor, return_lse: bool,
) -> Pass:  # fmt: skip
    """The pass of a step with such tensors, q and out [B, m, H, D]; it takes them by name from its environment."""
    given = {"Q": q, "K": k, "V": v, "LENGTHS": lengths, "SINKS": sinks, "OUT": out, **pages.tensors}
    metas = {name: Meta.of(x) for name, x in given.items() if x is not None}
    key = *metas.items(), pages.size, return_lse, dot_precision(q.dtype)
    run = steps.passes.get(key)
    return run or remember(steps, key, _step_pass(steps, metas, pages, return_lse))  # type: ignore[arg-type]


def environment_of(
    q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, pages: Pages, sinks: Tensor | None, scale: float
) -> Environment:
    """What a pass takes of a call, but for OUT."""
    env: Environment = {"Q": q, "K": k, "V": v, "LENGTHS": lengths, "scale_log2": scale * LOG2_E_FLOAT, **pages.tensors}
    if sinks is not None:
        env["SINKS"] = sinks
    return env


def _step_pass(steps: Steps, metas: Environment, pages: Pages, return_lse: bool) -> Pass:
    run = Pass(steps, **metas)  # type: ignore[arg-type]
    q = metas["Q"]
    if return_lse:
        run.empty("LSE", q.shape[:3], torch.float32)
    for number, group in enumerate(steps.groups):
        _launch_group(run, group, number, pages, return_lse)
    return run


def _launch_group(run: Pass, group: StepGroup, number: int, pages: Pages, return_lse: bool) -> None:
    q, k, v, out = (run.metas[name] for name in ("Q", "K", "V", "OUT"))
    batch, rows, heads, head_dim = q.shape
    setting = step_setting(run.device, q.dtype.itemsize)
    block_d, v_dim = padded(head_dim), v.shape[3]
    most_rows = max(min(_UNIT_ROWS, _UNIT_COLUMNS // max(block_d, padded(v_dim))), rows)
    units = units_of(group, heads, pages.kv_heads(k), rows, most_rows, run.device)
    block_n = min(max(setting.tile_bytes // (max(block_d, padded(v_dim)) * q.dtype.itemsize), 16), 128)
    capacity = pages.capacity(k)
    most = group.most_tiles(capacity, rows, block_n)
    count = processors(run.device)
    if units.number * batch * most <= setting.waves * count:
        setting = setting._replace(least_share=1)
    parts = parts_of_unit(setting, most, units.number * batch, count)
    regions = tuple(region for region in group.regions if region.answers.keys is not None)
    values: Environment = {"GROUP": units.size, "ROWS": rows, "HEAD_DIM": head_dim, "BLOCK_D": block_d}
    values |= {"V_DIM": v_dim, "BLOCK_V": padded(v_dim)}
    values |= {"heads": heads, "UNITS": units.table, "SINKS": _given(run, "SINKS"), "LENGTHS": Slot("LENGTHS")}
    values |= {"OUT": Slot("OUT"), "LSE": Slot("LSE") if return_lse else None}
    values |= dict(zip(("o_b", "o_m", "o_h"), (stride // 8 for stride in out.strides), strict=False))
    if parts > 1:
        run.scratch("PARTS", (batch, units.number, parts, units.size * rows, v_dim), torch.float32)
        run.scratch("PARTS_LSE", (batch, units.number, parts, units.size * rows), torch.float32)
        values |= {"PARTS": Slot("PARTS"), "PARTS_LSE": Slot("PARTS_LSE"), "parts": parts}
    own: Environment = {"Q": Slot("Q"), "K": Slot("K"), "V": Slot("V"), "scale_log2": Slot("scale_log2")}
    own |= dict(zip(("q_b", "q_m", "q_h"), (stride // 8 for stride in q.strides), strict=False))
    for name, x in (("k", k), ("v", v)):
        own |= dict(zip((f"{name}_b", f"{name}_h", f"{name}_n"), (s // 8 for s in pages.strides(x)), strict=True))
    own |= {"PAGES": _given(run, "PAGES"), "STARTS": _given(run, "STARTS"), "PAGE": pages.size}
    own |= {"pages_b": run.metas["PAGES"].strides[0] if pages.size else 0, "capacity": capacity}
    own |= {"NUMBERS": group.regions[0].numbers or None, "SCORE": group.regions[0].answers.score}
    own["NEAR"] = are_near(capacity)
    own |= {"BLOCK_M": max(16, 1 << (units.size * rows - 1).bit_length()), "BLOCK_N": block_n}
    own |= {"PRECISION": dot_precision(q.dtype), "LEAST": setting.least_share, "NAME": f"decode_{number}"}
    for place, region in enumerate(regions):
        told = {"KEEP": region.answers.keep, "KEYS": region.answers.keys, "GATHERED": region.gathered}
        told |= {
            "STRIDE": region.stride,
            "HOLES": not region.exact,
            "TABLES": _tables_of_region(region, capacity, run.device),
        }
        own |= {slot(name, place): value for name, value in told.items()}
    warps = setting.warps if block_d <= _WIDE else 2 * setting.warps
    options = {"num_warps": warps, "num_stages": setting.paged_stages if pages.size else setting.stages}
    run.launch(decode_kernel, (parts, units.number, batch), values | own, options)
    if parts > 1:
        run.launch(merge_parts_kernel, (units.size * rows, units.number, batch), values | {"BLOCK_P": _MERGED})


def _given(run: Pass, name: str) -> Slot | None:
    return Slot(name) if name in run.metas else None


def parts_of_unit(setting: StepSetting, most: int, units: int, count: int) -> int:
    """How many programs share the tiles of each of `units`, `most` at most, on `count` processors."""
    wanted = max(cdiv(setting.waves * count, max(units, 1)), cdiv(most, setting.share))
    return max(1, min(wanted, cdiv(most, setting.least_share), setting.most_parts))


def _tables_of_region(region: StepRegion, capacity: int, device: torch.device) -> Tables | None:
    """The tables that a region reads, for all rows that a cache has room for."""
    found = []
    for _, source in region.tables:
        table = source.rows(capacity, 0, None, device)
        found += [table.starts.to(torch.int32), table.entries if len(table.entries) else table.entries.new_zeros(1)]
    return Tables(found) if found else None


# ---------------------------------------------------------------- units


class Units(NamedTuple):
    """The query heads that programs work on."""

    number: int
    size: int  # query heads of a unit, at most
    table: Tensor | None  # int32 [count, 1 + size]: key head, query heads, -1 behind them; None: whole groups


@functools.lru_cache(maxsize=64)
def _unit_table(own: tuple[int, ...], shared_by: int, most: int, device: torch.device) -> Units:
    lines: list[list[int]] = []
    for kv_head in sorted({head // shared_by for head in own}):
        sharing = [head for head in own if head // shared_by == kv_head]
        lines += [[kv_head, *sharing[first : first + most]] for first in range(0, len(sharing), most)]
    size = max(map(len, lines)) - 1
    table = torch.tensor([line + [-1] * (1 + size - len(line)) for line in lines], dtype=torch.int32, device=device)
    return Units(len(lines), size, table)


def units_of(group: StepGroup, heads: int, kv_heads: int, rows: int, most_rows: int, device: torch.device) -> Units:
    """The units of a group's query heads, each of `most_rows` rows at most, but one head of all its `rows`."""
    shared_by, most = heads // kv_heads, max(most_rows // rows, 1)
    if group.heads is None and shared_by <= most:
        return Units(kv_heads, shared_by, None)
    return _unit_table(tuple(range(heads)) if group.heads is None else group.heads, shared_by, most, device)
