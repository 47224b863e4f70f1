"""In which tier of kernels a plan will run on a GPU, and why, by the rules of `sparsec.kernels.hopper.rules`.

What operators find out before a launch, from tensors and kernels, is found here from the plan alone.  One thing is not:
whether heads that differ in numbers share their kernels, which then know no bound of a score (`codegen.sharing`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from sparsec.analysis.score_gradient import gradient
from sparsec.analysis.score_terms import most
from sparsec.ir import nodes as ir
from sparsec.ir.inputs import inputs_read
from sparsec.ir.scores import constant, inputs_of_score
from sparsec.ir.vector import Values, holds, integer
from sparsec.kernels.hopper import rules
from sparsec.kernels.hopper.resources import BACKWARD_TILES, GROUP_ROWS, HOPPER_TILES, hopper_size
from sparsec.plan.nodes import Contiguous, Cover, Group, Kernel, Plan, Region, Variant

_SAMPLES = 16


class Device(NamedTuple):
    """A GPU, as rules ask about it."""

    capability: tuple[int, int]  # (0, 0): no GPU of NVIDIA
    processors: int


class Shape(NamedTuple):
    """What a call is about, with 16-bit tensors."""

    n_q: int
    n: int
    q_offset: int
    heads: int
    head_size: int


@dataclass(frozen=True, slots=True)
class Tier:
    """The tier of one pass of the heads of a condition."""

    heads: tuple[int, ...]  # (): all
    kind: Literal["forward", "backward"]
    kernel: str  # forward, its letters; "" where it is the only one
    tier: Literal["plain", "hopper"]
    why: str  # what the Hopper tier needs, or is faster with; "" where nothing is missing or the environment says it
    can: bool = True  # whether the Hopper tier can run it
    forced: bool = False  # by SPARSEC_TIER
    dropout_plain: bool = False  # whether calls with dropout run in the plain tier, where others don't
    from_heads: int | None = None  # with how many heads, of all rows of the batch, the Hopper tier would be faster


def tiers(plan: Plan, shape: Shape, device: Device) -> Iterator[Tier]:
    """The tier of each forward kernel and of the gradients, for each distinct condition.

    ValueError where SPARSEC_TIER is neither of both.
    """
    for group in plan.groups:
        variant = group.at(shape.n)
        for kernel in variant.of("forward"):
            yield _tier(group, _case(plan, variant, kernel, shape, device), kernel.name)
        yield _tier(group, _backward_case(plan, variant, shape, device), "")


def _tier(group: Group, case: rules.HopperCase, name: str) -> Tier:
    told = partial(Tier, group.heads, "backward" if case.backward else "forward", name)
    wanted, lacking = rules.wanted_tier(), rules.lacks(case)
    if wanted == "plain":
        return told("plain", "", forced=True)
    if lacking:
        return told("plain", lacking, can=False)
    if wanted == "hopper":
        return told("hopper", "", forced=True)
    if not (slow := rules.slower_without(case)):
        return told("hopper", "", dropout_plain=bool(rules.slower_without(case._replace(dropout=True))))
    if slow == rules.PROCESSORS_BUSY:
        heads = -(-3 * case.processors * case.heads // (4 * case.tiles))
        with_more = rules.slower_without(case._replace(heads=heads))
        return told("plain", with_more) if with_more else told("plain", slow, from_heads=heads)
    return told("plain", slow)


def _case(plan: Plan, variant: Variant, kernel: Kernel, shape: Shape, device: Device) -> rules.HopperCase:
    """What rules ask about a kernel."""
    region, score = kernel.regions[0], variant.score
    covers = region.rows, region.columns
    slope = score is not None and constant(gradient(score)) != 1
    read = inputs_read(region.mask) or (score is not None and inputs_of_score(score))
    share = partial(_whole_share, region, shape)
    return rules.HopperCase(
        backward=False,
        lacking="" if device.capability == rules.CAPABILITY else rules.NEEDS_GPU,
        processors=device.processors,
        dtype="bfloat16",
        head_dim=shape.head_size,
        batch=1,
        heads=shape.heads,
        n_q=shape.n_q,
        n=shape.n,
        one_region=len(kernel.regions) == 1,
        one_softmax=kernel.begin == "init" and kernel.end == "store",
        as_they_are=region.layout == Contiguous() or region.listed,
        ranges=not region.listed and not any(cover.from_list for cover in covers),
        tables=bool(tuple(ir.tables(region.mask)) or region.rows.tables),
        inputs=bool(read or plan.pattern.inputs or plan.pattern.score_inputs),  # which all functions take then
        blocks=_in_whole_blocks(kernel, shape),
        block=max(each.block for each in kernel.regions),
        split_prefix=kernel.split_prefix,
        score=score is not None,
        slope=slope,
        most=None if score is None else most(score),
        from_list=partial(_share_of_listed, region, shape),
        whole=share,
    )


def _backward_case(plan: Plan, variant: Variant, shape: Shape, device: Device) -> rules.HopperCase:
    """What they ask about the gradients of a variant."""
    dq, dkdv = variant.of("dq"), variant.of("dkdv")
    return _case(plan, variant, dkdv[0], shape, device)._replace(
        backward=True,
        one_pattern=not plan.by_head,
        one_region=len(dq) == len(dkdv) == 1 and dq[0].regions == dkdv[0].regions and not dkdv[0].collects,
        steps=partial(_steps, dkdv[0].regions[0], shape),
    )


def _whole_share(region: Region, shape: Shape) -> float:
    """The share of steps that go without a mask, the mean of some tiles of 64 queries."""
    if region.rows.tables:  # of whole blocks, where the tier takes them
        return 1.0
    keys = HOPPER_TILES[hopper_size(shape.head_size)].keys
    rows = np.linspace(0, max(shape.n_q - GROUP_ROWS, 0), _SAMPLES).astype(np.int64)
    q_lo = rows[:, None] // GROUP_ROWS * GROUP_ROWS + shape.q_offset
    k_lo = np.arange(0, shape.n, keys)[None, :]
    edges: Values = {
        "q_lo": q_lo,
        "q_hi": q_lo + GROUP_ROWS - 1,
        "k_lo": k_lo,
        "k_hi": k_lo + keys - 1,
        "n": shape.n,
    }
    visited = np.zeros((len(rows), k_lo.size), bool)
    for begin, stop in _ranges(region.rows, q_lo, GROUP_ROWS, shape.n):
        visited |= (begin < stop) & (k_lo >= begin // keys * keys) & (k_lo < stop)
    full = holds(region.full, edges) if region.keeps else np.asarray(True)
    whole, steps = visited & full & (edges["k_hi"] < shape.n), visited.sum(1)
    return float((whole.sum(1) / np.maximum(steps, 1))[steps > 0].mean()) if steps.any() else float("nan")


def _in_whole_blocks(kernel: Kernel, shape: Shape) -> bool:
    """Whether all that a kernel visits are blocks of 64 queries and keys, all of whose pairs are kept."""
    region, block, rows = kernel.regions[0], max(each.block for each in kernel.regions), GROUP_ROWS
    filled = not region.rows.tables or region.full_named == ir.TRUE
    return block > 1 and block % rows == shape.q_offset % rows == 0 and filled


def _share_of_listed(region: Region, shape: Shape) -> float:
    """How many steps a group of warps has where they come from a list, as a share of those over ranges of tiles."""
    rows = GROUP_ROWS
    blocks, steps = _visits(region, shape, rows, rows), _visits(region, shape, 2 * rows, 2 * rows)
    of_groups = np.pad(blocks, (0, len(blocks) % 2)).reshape(-1, 2)
    return float(((of_groups.max(1) + 1) // 2).sum() / max(steps.sum(), 1))


def _steps(region: Region, shape: Shape, queries: int) -> int:
    """How many tiles of 128 keys tiles of so many queries visit, those of overlapping ranges twice."""
    return int(_visits(region, shape, queries, BACKWARD_TILES[hopper_size(shape.head_size)].keys).sum())


def _visits(region: Region, shape: Shape, queries: int, keys: int) -> np.ndarray:
    """How many tiles of so many keys each tile of so many queries visits, those of overlapping ranges twice."""
    q_lo = np.arange(0, shape.n_q, queries) + shape.q_offset
    found = np.zeros(len(q_lo), np.int64)
    for begin, stop in _ranges(region.rows, q_lo, queries, shape.n):
        found += np.where(begin < stop, -(-stop // keys) - begin // keys, 0)
    return found


def _ranges(cover: Cover, q_lo: np.ndarray, queries: int, n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Half-open ranges of keys that tiles of queries visit, within 0 .. n."""
    edges: Values = {"q_lo": q_lo, "q_hi": q_lo + queries - 1, "n": n}
    for segment in cover.segments:
        begin = np.asarray(0) if segment.first is None else integer(segment.first, edges)
        stop = np.asarray(n) if segment.last is None else integer(segment.last, edges) + 1
        stop = np.where(holds(segment.when, edges), stop, 0)
        begin, stop = (np.broadcast_to(np.clip(x, 0, n), q_lo.shape) for x in (begin, stop))
        yield begin, stop
