"""A decoding step of GPU tensors: units of rows, how many programs share one, and the launches."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.decode.kernel import decode_kernel
from sparsec.kernels.decode.pages import Pages
from sparsec.kernels.decode.parts import merge_parts_kernel
from sparsec.kernels.decode.program import StepGroup, StepRegion, Steps
from sparsec.kernels.decode.work import work_kernel
from sparsec.kernels.launches.launch import Environment, Meta, Pass, Slot, Tables, remember
from sparsec.kernels.launches.prepare import are_near, padded, slot
from sparsec.kernels.machine.device import LOG2_E_FLOAT
from sparsec.kernels.machine.hardware import device_tier, dot_precision, processors
from sparsec.kernels.machine.memory import as_contiguous
from sparsec.kernels.program.program import cdiv

_UNIT_ROWS = 64  # heads by rows of a unit, at most
_UNIT_COLUMNS = 1 << 14  # of all rows of a unit, at most, where a row has so many that fewer must do
_WIDE = 256  # columns of keys, above which a unit has more warps
_SEQUENCES = 256  # of a block of those whose tiles are summed
_MERGED = 16  # parts of a block of the kernel that joins them
_IDLE = 1 / 32  # of the programs' time, which more parts would have to save


class StepSetting(NamedTuple):
    """How a step is cut into programs."""

    tile_bytes: int = 1 << 14  # of keys of a tile
    warps: int = 4
    stages: int = 3
    waves: int = 2  # programs for each processor
    share: int = 32  # tiles of a program, at most, as far as `most_parts` allows
    least_share: int = 2  # at least, but where there are fewer tiles than programs
    most_parts: int = 128


LARGE_STEP = StepSetting()
SMALL_STEP = StepSetting(tile_bytes=1 << 13, stages=2)


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
    env: Environment = {"Q": q, "K": k, "V": v, "LENGTHS": as_contiguous(lengths), **pages.tensors}
    env["scale_log2"] = scale * LOG2_E_FLOAT
    if sinks is not None:
        env["SINKS"] = as_contiguous(sinks)
    return env


def _prepared(steps: Steps, metas: Environment, pages: Pages, return_lse: bool, shared: bool) -> PreparedStep:
    run, sums = Pass(steps, **metas), None  # type: ignore[arg-type]
    cuts = [_cut_of_group(group, run, pages) for group in steps.groups]
    if return_lse:
        run.empty("LSE", metas["Q"].shape[:3], torch.float32)
    if shared:
        sums = _sums_of(steps, metas["LENGTHS"], cuts)
        run.metas["WORK"] = sums.metas["WORK"]
    for number, cut in enumerate(cuts):
        _launch_group(run, cut, number, pages, return_lse)
    return PreparedStep(run, sums)


def _sums_of(steps: Steps, lengths: Meta, cuts: list[Cut]) -> Pass:
    """The pass that makes WORK; steps that differ in other things have one and the same."""
    key = "WORK", lengths, *((cut.rows, cut.block_n, cut.capacity) for cut in cuts)
    if key in steps.passes:
        return steps.passes[key]
    run = Pass(steps, LENGTHS=lengths)  # type: ignore[arg-type]
    run.empty("WORK", (len(cuts) * (cuts[0].batch + 1),), torch.int32)
    for number, cut in enumerate(cuts):
        own: Environment = {"LENGTHS": Slot("LENGTHS"), "WORK": Slot("WORK"), "work_at": number * (cut.batch + 1)}
        own |= {"batches": cut.batch, "capacity": cut.capacity, "NUMBERS": cut.group.regions[0].numbers or None}
        own |= {"ROWS": cut.rows, "BLOCK_N": cut.block_n, "BLOCK_B": _SEQUENCES, "NAME": f"work_{number}"}
        for place, region in enumerate(cut.regions):
            told = {"KEYS": region.answers.keys, "GATHERED": region.gathered, "STRIDE": region.stride}
            own |= {slot(name, place): value for name, value in told.items()}
        run.launch(work_kernel, (1, 1, 1), own)
    return remember(steps, key, run)


class Units(NamedTuple):
    """The query heads that programs work on."""

    number: int
    size: int  # query heads of a unit, at most
    table: Tensor | None  # int32 [count, 1 + size]: key head, query heads, -1 behind them; None: whole groups


class Cut(NamedTuple):
    """How the step of a group is cut into tiles and programs."""

    group: StepGroup
    setting: StepSetting
    units: Units
    batch: int
    rows: int
    block_n: int
    capacity: int
    processors: int

    @property
    def regions(self) -> list[StepRegion]:
        return [region for region in self.group.regions if region.answers.keys is not None]

    @property
    def runs(self) -> int:
        """Programs of a unit that share the tiles of all sequences."""
        return max(self.setting.waves * self.processors // self.units.number, 1)

    @property
    def parts(self) -> tuple[int, int]:
        """Programs that share those of one sequence, and the least tiles of one."""
        most = self.group.most_tiles(self.capacity, self.rows, self.block_n)
        number, slots = self.units.number * self.batch, self.setting.waves * self.processors
        least = 1 if number * most <= slots else self.setting.least_share
        return parts_of_unit(self.setting, most, number, slots, least), least


def _cut_of_group(group: StepGroup, run: Pass, pages: Pages) -> Cut:
    q, k, v = (run.metas[name] for name in "QKV")
    batch, rows, heads, head_dim = q.shape
    setting = step_setting(run.device, q.dtype.itemsize)
    widest = max(padded(head_dim), padded(v.shape[3]))
    most_rows = max(min(_UNIT_ROWS, _UNIT_COLUMNS // widest), rows)
    units = units_of(group, heads, pages.kv_heads(k), rows, most_rows, run.device)
    block_n = min(max(setting.tile_bytes // (widest * q.dtype.itemsize), 16), 128)
    return Cut(group, setting, units, batch, rows, block_n, pages.capacity(k), processors(run.device))


def parts_of_unit(setting: StepSetting, most: int, units: int, slots: int, least: int) -> int:
    """How many programs share the tiles of each of `units`, `most` at most, where `slots` programs run side by side.

    As few as leave no more slots idle than others would: a step waits for the last of them.
    """
    upper = max(min(cdiv(most, least), setting.most_parts), 1)
    lower = min(max(cdiv(most, setting.share), 1), upper)

    def time(parts: int) -> float:
        return cdiv(max(units, 1) * parts, slots) / parts

    best = min(time(parts) for parts in range(lower, upper + 1))
    return next(parts for parts in range(lower, upper + 1) if time(parts) <= best * (1 + _IDLE))


def _launch_group(run: Pass, cut: Cut, number: int, pages: Pages, return_lse: bool) -> None:
    q, k, v, out = (run.metas[name] for name in ("Q", "K", "V", "OUT"))
    head_dim, v_dim = q.shape[3], v.shape[3]
    units, setting, group_rows = cut.units, cut.setting, cut.units.size * cut.rows
    (parts, least), shared = cut.parts, "WORK" in run.metas
    own: Environment = {"GROUP": units.size, "ROWS": cut.rows, "HEAD_DIM": head_dim, "BLOCK_D": padded(head_dim)}
    own |= {"V_DIM": v_dim, "BLOCK_V": padded(v_dim), "heads": q.shape[2], "UNITS": units.table}
    own |= {name: Slot(name) for name in ("Q", "K", "V", "OUT", "LENGTHS", "scale_log2")}
    own |= {name: _given(run, name) for name in ("SINKS", "PAGES", "STARTS", "WORK")}
    own |= {"LSE": Slot("LSE") if return_lse else None, "batches": cut.batch, "work_at": number * (cut.batch + 1)}
    own |= dict(zip(("q_b", "q_m", "q_h"), (stride // 8 for stride in q.strides), strict=False))
    own |= dict(zip(("o_b", "o_m", "o_h"), (stride // 8 for stride in out.strides), strict=False))
    for name, x in (("k", k), ("v", v)):
        own |= dict(zip((f"{name}_b", f"{name}_h", f"{name}_n"), (s // 8 for s in pages.strides(x)), strict=True))
    own |= {"PAGE": pages.size, "pages_b": run.metas["PAGES"].strides[0] if pages.size else 0, "capacity": cut.capacity}
    own |= {"ALIKE": pages.strides(k) == pages.strides(v), "LEAST": None if shared else least}
    first = cut.group.regions[0]
    own |= {"NUMBERS": first.numbers or None, "SCORE": first.answers.score, "NEAR": are_near(cut.capacity)}
    own |= {"BLOCK_M": max(16, 1 << (group_rows - 1).bit_length()), "BLOCK_N": cut.block_n}
    own |= {"BLOCK_B": _SEQUENCES if shared else None, "BLOCK_P": _MERGED}
    own |= {"PRECISION": dot_precision(q.dtype), "NAME": f"decode_{number}"}
    for place, region in enumerate(cut.regions):
        told = {"KEEP": region.answers.keep, "KEYS": region.answers.keys, "GATHERED": region.gathered}
        told |= {"STRIDE": region.stride, "HOLES": not region.exact}
        told["TABLES"] = _tables_of_region(region, cut.capacity, run.device)
        own |= {slot(name, place): value for name, value in told.items()}
    grid, room = (parts, units.number, cut.batch), (cut.batch, units.number, parts)
    if shared:
        grid, room = (cut.runs, units.number, 1), (units.number, cut.runs, 2)
    if shared or parts > 1:
        run.scratch("PARTS", (*room, group_rows, v_dim), torch.float32)
        run.scratch("PARTS_LSE", (*room, group_rows), torch.float32)
        own |= {"PARTS": Slot("PARTS"), "PARTS_LSE": Slot("PARTS_LSE"), "parts": grid[0]}
    warps = setting.warps if padded(head_dim) <= _WIDE else 2 * setting.warps
    run.launch(decode_kernel, grid, own, {"num_warps": warps, "num_stages": setting.stages})
    if "parts" in own:
        run.launch(merge_parts_kernel, (group_rows, units.number, cut.batch), own)


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
