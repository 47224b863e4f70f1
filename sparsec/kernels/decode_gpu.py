"""A decoding step of GPU tensors: units of rows, how many programs share one, and the launches."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.decode_kernel import decode_kernel
from sparsec.kernels.decode_pages import Pages
from sparsec.kernels.decode_program import StepGroup, StepRegion, Steps
from sparsec.kernels.decode_work import work_kernel
from sparsec.kernels.device import LOG2_E_FLOAT
from sparsec.kernels.hardware import device_tier, dot_precision, processors
from sparsec.kernels.launch import Environment, Meta, Pass, Slot, Tables, remember
from sparsec.kernels.prepare import are_near, padded, slot

_UNIT_ROWS = 64  # heads by rows of a unit, at most
_UNIT_COLUMNS = 1 << 14  # of all rows of a unit, at most, where a row has so many that fewer must do
_WIDE = 256  # columns of keys, above which a unit has more warps
_SEQUENCES = 256  # of a block of those whose tiles are summed
_JOINED = 1 << 13  # elements of a block of parts that are joined


class StepSetting(NamedTuple):
    """How a step is cut into programs."""

    tile_bytes: int = 1 << 14  # of keys of a tile
    warps: int = 4
    stages: int = 2
    paged_stages: int = 3  # numbers of pages are loaded a step ahead of their keys
    waves: int = 2  # programs for each processor
    registers: int | None = None  # of a thread, at most


LARGE_STEP = StepSetting()
SMALL_STEP = StepSetting(tile_bytes=1 << 13, paged_stages=2)


def step_setting(device: torch.device, width: int) -> StepSetting:
    """The setting of a device for elements of so many bytes."""
    return SMALL_STEP if device_tier(device, width) == "small" else LARGE_STEP


class PreparedStep(NamedTuple):
    """The pass of a step; it takes tensors by name from its environment."""

    run: Pass
    sums: Pass | None  # fills in WORK, where a step takes that from its call


def prepared_step(
    steps: Steps, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, pages: Pages, sinks: Tensor | None,
    out: Tensor, return_lse: bool, shared: bool = False,
) -> PreparedStep:  # fmt: skip
    """The step with such tensors, q and out [B, m, H, D]; `shared`: WORK is made elsewhere, for several steps."""
    given = {"Q": q, "K": k, "V": v, "LENGTHS": lengths, "SINKS": sinks, "OUT": out, **pages.tensors}
    metas = {name: Meta.of(x) for name, x in given.items() if x is not None}
    key = *metas.items(), pages.size, return_lse, dot_precision(q.dtype), shared
    return steps.passes.get(key) or remember(steps, key, _prepared(steps, metas, pages, return_lse, shared))


def environment_of(
    q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, pages: Pages, sinks: Tensor | None, scale: float
) -> Environment:
    """What a pass takes of a call, but for OUT and WORK."""
    env: Environment = {"Q": q, "K": k, "V": v, "LENGTHS": lengths, "scale_log2": scale * LOG2_E_FLOAT, **pages.tensors}
    if sinks is not None:
        env["SINKS"] = sinks
    return env


def _prepared(steps: Steps, metas: Environment, pages: Pages, return_lse: bool, shared: bool) -> PreparedStep:
    run, sums = Pass(steps, **metas), None  # type: ignore[arg-type]
    cuts = [_cut(group, run, pages) for group in steps.groups]
    room = (sum(cut.room for cut in cuts),)
    if return_lse:
        run.empty("LSE", metas["Q"].shape[:3], torch.float32)
    if shared:
        sums = _sums_of(steps, metas["LENGTHS"], cuts, room)
        run.metas["WORK"] = Meta.contiguous(room, torch.int32, run.device)
    else:
        run.scratch("WORK", room, torch.int32)
        _sum_tiles(run, cuts)
    at = 0
    for number, cut in enumerate(cuts):
        _launch_group(run, cut, number, at, pages, return_lse)
        at += cut.room
    return PreparedStep(run, sums)


def _sums_of(steps: Steps, lengths: Meta, cuts: list[Cut], room: tuple[int]) -> Pass:
    """The pass that makes WORK; steps that differ in other things have one and the same."""
    key = "WORK", lengths, *((cut.rows, cut.block_n, cut.capacity, cut.units.number) for cut in cuts)
    if key not in steps.passes:
        run = Pass(steps, LENGTHS=lengths)  # type: ignore[arg-type]
        run.empty("WORK", room, torch.int32)
        _sum_tiles(run, cuts)
        remember(steps, key, run)
    return steps.passes[key]


class Units(NamedTuple):
    """The query heads that programs work on."""

    number: int
    size: int  # query heads of a unit, at most
    table: Tensor | None  # int32 [count, 1 + size]: key head, query heads, -1 behind them; None: whole groups


class Cut(NamedTuple):
    """How the step of a group is cut into programs."""

    group: StepGroup
    setting: StepSetting
    units: Units
    batch: int
    rows: int
    block_n: int
    capacity: int
    programs: int  # of a unit

    @property
    def room(self) -> int:
        """Numbers of WORK."""
        return self.batch + 1 + self.units.number * self.batch

    @property
    def regions(self) -> list[StepRegion]:
        return [region for region in self.group.regions if region.answers.keys is not None]


def _cut(group: StepGroup, run: Pass, pages: Pages) -> Cut:
    q, k, v = (run.metas[name] for name in "QKV")
    batch, rows, heads, head_dim = q.shape
    setting = step_setting(run.device, q.dtype.itemsize)
    widest = max(padded(head_dim), padded(v.shape[3]))
    units = units_of(
        group, heads, pages.kv_heads(k), rows, max(min(_UNIT_ROWS, _UNIT_COLUMNS // widest), rows), run.device
    )
    block_n = min(max(setting.tile_bytes // (widest * q.dtype.itemsize), 16), 128)
    programs = max(setting.waves * processors(run.device) // units.number, 1)
    return Cut(group, setting, units, batch, rows, block_n, pages.capacity(k), programs)


def _sum_tiles(run: Pass, cuts: list[Cut]) -> None:
    """Has tiles summed for all groups."""
    at = 0
    for number, cut in enumerate(cuts):
        own: Environment = {"LENGTHS": Slot("LENGTHS"), "WORK": Slot("WORK"), "work_at": at, "batch": cut.batch}
        own |= {"units": cut.units.number, "capacity": cut.capacity, "NUMBERS": cut.group.regions[0].numbers or None}
        own |= {"ROWS": cut.rows, "BLOCK_N": cut.block_n, "BLOCK_B": _SEQUENCES, "NAME": f"work_{number}"}
        for place, region in enumerate(cut.regions):
            told = {"KEYS": region.answers.keys, "GATHERED": region.gathered, "STRIDE": region.stride}
            own |= {slot(name, place): value for name, value in told.items()}
        run.launch(work_kernel, (1, 1, 1), own)
        at += cut.room


def _launch_group(run: Pass, cut: Cut, number: int, work_at: int, pages: Pages, return_lse: bool) -> None:
    q, k, v, out = (run.metas[name] for name in ("Q", "K", "V", "OUT"))
    head_dim, v_dim = q.shape[3], v.shape[3]
    units, setting, group_rows = cut.units, cut.setting, cut.units.size * cut.rows
    run.scratch("PARTS", (units.number, cut.programs, 2, group_rows, v_dim), torch.float32)
    run.scratch("PARTS_LSE", (units.number, cut.programs, 2, group_rows), torch.float32)
    own: Environment = {"GROUP": units.size, "ROWS": cut.rows, "HEAD_DIM": head_dim, "BLOCK_D": padded(head_dim)}
    own |= {"V_DIM": v_dim, "BLOCK_V": padded(v_dim), "heads": q.shape[2], "UNITS": units.table}
    own |= {name: Slot(name) for name in ("Q", "K", "V", "OUT", "LENGTHS", "WORK", "PARTS", "PARTS_LSE", "scale_log2")}
    own |= {name: _given(run, name) for name in ("SINKS", "PAGES", "STARTS")}
    own |= {"LSE": Slot("LSE") if return_lse else None, "batch": cut.batch, "work_at": work_at}
    own |= dict(zip(("q_b", "q_m", "q_h"), (stride // 8 for stride in q.strides), strict=False))
    own |= dict(zip(("o_b", "o_m", "o_h"), (stride // 8 for stride in out.strides), strict=False))
    for name, x in (("k", k), ("v", v)):
        own |= dict(zip((f"{name}_b", f"{name}_h", f"{name}_n"), (s // 8 for s in pages.strides(x)), strict=True))
    own |= {"PAGE": pages.size, "pages_b": run.metas["PAGES"].strides[0] if pages.size else 0, "capacity": cut.capacity}
    own["ALIKE"] = pages.strides(k) == pages.strides(v)
    first = cut.group.regions[0]
    own |= {"NUMBERS": first.numbers or None, "SCORE": first.answers.score, "NEAR": are_near(cut.capacity)}
    joined_rows = 1 << (group_rows - 1).bit_length()
    own |= {"BLOCK_M": max(16, joined_rows), "BLOCK_N": cut.block_n, "BLOCK_B": _SEQUENCES, "BLOCK_R": joined_rows}
    own |= {"BLOCK_P": max(_JOINED // (joined_rows * padded(v_dim)), 1)}
    own |= {"PRECISION": dot_precision(q.dtype), "NAME": f"decode_{number}"}
    for place, region in enumerate(cut.regions):
        told = {"KEEP": region.answers.keep, "KEYS": region.answers.keys, "GATHERED": region.gathered}
        told |= {"STRIDE": region.stride, "HOLES": not region.exact}
        told["TABLES"] = _tables_of_region(region, cut.capacity, run.device)
        own |= {slot(name, place): value for name, value in told.items()}
    warps = setting.warps if padded(head_dim) <= _WIDE else 2 * setting.warps
    options = {"num_warps": warps, "num_stages": setting.paged_stages if pages.size else setting.stages}
    if setting.registers:
        options["maxnreg"] = setting.registers
    run.launch(decode_kernel, (cut.programs, units.number, 1), own, options)


def _given(run: Pass, name: str) -> Slot | None:
    return Slot(name) if name in run.metas else None


def _tables_of_region(region: StepRegion, capacity: int, device: torch.device) -> Tables | None:
    """The tables that a region reads, for all rows that a cache has room for."""
    found = []
    for _, source in region.tables:
        table = source.rows(capacity, 0, None, device)
        found += [table.starts.to(torch.int32), table.entries if len(table.entries) else table.entries.new_zeros(1)]
    return Tables(found) if found else None


# ---------------------------------------------------------------- units


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
