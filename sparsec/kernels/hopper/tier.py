"""Which kernels of a pass run in the Hopper tier, before anything is compiled.

The rules are those of `sparsec.kernels.hopper.rules`; here is what they ask, of a device and of kernels with their
answers.  The gradients of a pass are all made there, by one kernel, or none is.  SPARSEC_TIER is read when a pass is
prepared, at the first call of its shapes.
"""

from __future__ import annotations

import re

import torch

from sparsec.kernels.hopper.backward_steps import STEP_KEYS, count_steps, listed_steps
from sparsec.kernels.hopper.block_steps import in_whole_blocks, share_of_listed
from sparsec.kernels.hopper.resources import BACKWARD_TILES, GROUP_ROWS, HOPPER_TILES, hopper_size
from sparsec.kernels.hopper.rules import (
    CAPABILITY,
    NEEDS_DRIVER,
    NEEDS_GLUON,
    NEEDS_GPU,
    TRITON,
    HopperCase,
    is_bounded,
    runs_there,
)
from sparsec.kernels.launches.launch import Pass
from sparsec.kernels.launches.stages import variant_of
from sparsec.kernels.machine.device import triton
from sparsec.kernels.machine.gluon import GluonDescriptor
from sparsec.kernels.machine.hardware import capability, driver_version, processors
from sparsec.kernels.program.program import Group, Kernel, Variant, cdiv
from sparsec.kernels.sequences.tiles import most_tiles

_SAMPLES = 16
_LEAST_DRIVER = 12_000  # as CUDA numbers its versions: 12.0, which knows the copy engine


def known_gluon() -> bool:
    """Whether this Triton has the Gluon that the tier is written in, and compiles."""
    found = re.match(r"3\.(\d+)\.", getattr(triton, "__version__", ""))
    interpreted = not found or triton.knobs.runtime.interpret
    return GluonDescriptor is not None and not interpreted and bool(found and int(found[1]) in TRITON)


def machine_lacks(device: torch.device) -> str:
    """What the tier would need besides on a machine, whatever the kernel; "" where nothing is missing."""
    if capability(device) != CAPABILITY:
        return NEEDS_GPU
    if 0 < driver_version() < _LEAST_DRIVER:
        return NEEDS_DRIVER
    return "" if known_gluon() else NEEDS_GLUON


def on_hopper(run: Pass, kernel: Kernel, q_offset: int) -> bool:
    """Whether a forward kernel of a pass runs in the tier."""
    return runs_there(forward_case(run, kernel, q_offset))


def in_blocks(run: Pass, kernel: Kernel, q_offset: int) -> bool:
    """Whether steps of a forward kernel that runs there come from a list of blocks."""
    return forward_case(run, kernel, q_offset).in_blocks


def gradients_on_hopper(run: Pass, q_offset: int) -> Kernel | None:
    """The dkdv kernel in the place of which the tier makes all gradients of a pass; None where the plain tier does."""
    group = run.program.groups[0]
    variant = variant_of(run, group)
    case = backward_case(run, group, variant, q_offset)
    return variant.of("dkdv")[0] if runs_there(case) else None


def forward_case(run: Pass, kernel: Kernel, q_offset: int) -> HopperCase:
    """What rules ask about a forward kernel of a pass."""
    return _case(run, kernel, q_offset)._replace(one_region=len(kernel.regions) == 1)


def backward_case(run: Pass, group: Group, variant: Variant, q_offset: int) -> HopperCase:
    """What they ask about the gradients of a pass; `variant` of its only group."""
    q, dq, dkdv = run.metas["Q"], variant.of("dq"), variant.of("dkdv")
    alone = len(dq) == len(dkdv) == 1 and dq[0].regions == dkdv[0].regions and not dkdv[0].collects
    found = _case(run, dkdv[0], q_offset)._replace(
        backward=True,
        one_pattern=len(run.program.groups) == 1 and group.heads is None,
        one_region=alone,
        steps=lambda queries: count_steps(dkdv[0].regions[0], q.shape[2], found.n, q_offset, queries),
    )
    if not found.lines:
        return found
    queries, batch = BACKWARD_TILES[found.size].queries, q.shape[0]
    key_tiles = most_tiles(found.lines, batch * found.n, STEP_KEYS, 1)
    room = most_tiles(found.lines, batch * found.n_q, queries, 1)
    return found._replace(room=room, listed=listed_steps(key_tiles, found.n_q, queries))


def _case(run: Pass, kernel: Kernel, q_offset: int) -> HopperCase:
    tensors = [run.metas[name] for name in ("Q", "K", "V", "DO") if name in run.metas]
    q, region = tensors[0], kernel.regions[0]
    n_q, n = q.shape[2], tensors[1].shape[2]
    lines = run.metas["SEQUENCES"].shape[0] if run.packed else 0
    answers = region.answers
    return HopperCase(
        backward=False,
        lacking=machine_lacks(q.device),
        processors=processors(q.device),
        dtype=str(q.dtype).removeprefix("torch."),
        head_dim=q.shape[3],
        batch=q.shape[0],
        heads=q.shape[1],
        n_q=n_q,
        n=n,
        lines=lines,
        dropout="STREAMS" in run.metas,
        one_size=len({x.shape[3] for x in tensors}) == 1,
        expanded=any(0 in x.strides for x in tensors),
        one_softmax=kernel.begin == "init" and (kernel.end == "store" or kernel.before_lists),
        as_they_are=kernel.stride == 1 and not (region.gathered or kernel.grouped),
        ranges=not (kernel.listed or region.tile_lists),
        tables=bool(region.tables or region.rows_tables),
        blocks=in_whole_blocks(kernel, q_offset),
        inputs=_takes_data(run, kernel),
        block=kernel.block,
        split_prefix=kernel.split_prefix,
        score=answers.score is not None,
        slope=answers.score_gradient is not None,
        most=answers.most,
        from_list=lambda: share_of_listed(region, n_q, n, q_offset),
        whole=lambda: _whole_share(kernel, n_q, n, q_offset, HOPPER_TILES[hopper_size(q.shape[3])].keys),
    )


def _takes_data(run: Pass, kernel: Kernel) -> bool:
    """Whether functions of the pattern take data of the call: all do where some condition reads any, but for a mask
    without, and that of forward kernels alone is asked for.
    """
    region, answers = kernel.regions[0], kernel.regions[0].answers
    if region.inputs or region.score_inputs or not any(own.uses for own in run.program.inputs):
        return bool(region.inputs or region.score_inputs)
    return not (kernel.before_lists and answers.keep_static is not None and answers.score is None)


def _whole_share(kernel: Kernel, n_q: int, n: int, q_offset: int, keys: int) -> float:
    """The share of steps that go without a mask, the mean of some tiles: others take up to twice as long."""
    region = kernel.regions[0]
    if region.rows_tables:  # of whole blocks, where the tier takes them
        return 1.0
    rows = torch.linspace(0, max(n_q - GROUP_ROWS, 0), _SAMPLES, dtype=torch.int64)
    rows = rows.div(GROUP_ROWS, rounding_mode="floor") * GROUP_ROWS
    q_lo = rows[:, None] + q_offset
    k_lo = torch.arange(0, n, keys)[None, :]
    edges = q_lo, q_lo + GROUP_ROWS - 1, k_lo, k_lo + keys - 1
    whole = torch.as_tensor(region.full(*edges, n, *region.more)) & (edges[3] < n)
    visited = torch.zeros(len(rows), k_lo.shape[1], dtype=torch.bool)
    for seen, first in zip(visited, q_lo[:, 0].tolist(), strict=True):
        for begin, end in region.visit(first, first + GROUP_ROWS - 1, n, *region.more):
            if max(begin, 0) < end:
                seen[max(begin, 0) // keys : cdiv(end, keys)] = True
    steps = visited.sum(1)
    return float(((whole & visited).sum(1) / steps.clamp(min=1))[steps > 0].mean())


def has_no_maximum(kernel: Kernel, dtype: torch.dtype) -> bool:
    """Whether a softmax of its scores needs no maximum."""
    return is_bounded(kernel.regions[0].answers.most, str(dtype).removeprefix("torch."))
