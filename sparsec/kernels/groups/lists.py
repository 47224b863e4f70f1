"""Which tokens stand in which slots, made of labels at every call: orders of queries and keys by group, and back.

What kernels read of it is told in `sparsec.kernels.groups.tiles` and `sparsec.kernels.groups.joins`.  Nothing here
looks at a number of the device on the host.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.launches.launch import Environment, Meta, Pass, Slot
from sparsec.kernels.machine.device import tl, triton
from sparsec.kernels.program.program import Region, cdiv

CLUSTERS_OF_WORD = 32  # in a line of labels
_TOKENS = 1024  # that a program looks at together
_MOST_INT32 = (1 << 31) - 1


class Side(NamedTuple):
    """The slots of one side of a line, and how many stand in a group."""

    slots: int
    size: int


class GroupShape(NamedTuple):
    """The groups of a call."""

    near: bool
    label_lines: int
    lines: int  # of orders
    queries: Side  # `size` is that of clusters: chunks have any number of queries
    keys: Side
    firsts: int  # numbers of a line of FIRST_Q


def shape_of(region: Region, labels: tuple[int, ...], n_q: int, n: int) -> GroupShape:
    """What follows from lengths; labels: [B, H, lines, n_q + n]."""
    groups = region.groups
    assert groups is not None
    if groups.near:
        firsts = cdiv(n, groups.size) + 2
        return GroupShape(True, labels[2], labels[2], Side(n_q, 1), Side(n, groups.size), firsts)
    clusters, (of_q, of_k) = labels[2] * CLUSTERS_OF_WORD, (min(groups.size, length) for length in (n_q, n))
    return GroupShape(False, labels[2], 1, Side(clusters * of_q, of_q), Side(clusters * of_k, of_k), 0)


# ---------------------------------------------------------------- chunks


def sorted_by_label(labels: Tensor, below: int, firsts: bool = False) -> tuple[Tensor, Tensor, Tensor | None]:
    """Tokens by rising label, the slot of each, both int32 like labels [lines, tokens]; and with `firsts` for labels
    0, 1, .. the first slot whose label is not less, int32 [lines, below].  Labels are less than `below`; ties go by
    position.
    """
    lines, tokens = labels.shape
    kind = torch.int32 if lines * below <= _MOST_INT32 else torch.int64
    line = torch.arange(lines, device=labels.device, dtype=kind)[:, None]
    codes, places = (labels + line * below).flatten().sort(stable=True)  # one sort of all: of each line takes longer
    order = (places % tokens).int() if tokens else places.int()
    number = torch.arange(tokens, device=labels.device, dtype=torch.int32).repeat(lines)
    slots = torch.empty_like(order).scatter_(0, places, number)
    first = None
    if firsts:
        wanted = torch.arange(below, device=labels.device, dtype=kind) + line * below
        first = (torch.searchsorted(codes, wanted, out_int32=True) - line * tokens).int()
    return order.view(lines, tokens), slots.view(lines, tokens), first


# ---------------------------------------------------------------- clusters


@triton.jit
def _count_bits(word):
    """How many bits of words of 32 are set."""
    x = word.to(tl.uint32, bitcast=True)
    x = x - ((x >> 1) & 0x55555555)
    x = (x & 0x33333333) + ((x >> 2) & 0x33333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F
    return ((x * 0x01010101) >> 24).to(tl.int32)


@triton.jit(do_not_specialize=["pitch", "first", "length"])
def count_clusters(LABELS, BEFORE, HELD, pitch, first, length, LINES: tl.constexpr, TOKENS: tl.constexpr):
    """HELD [B * H, length]: of how many clusters a token is one, and BEFORE [B * H, LINES, length]: of how many in the
    lines before.  LABELS [B * H, LINES, pitch], of which those of the tokens begin at `first`.
    """
    bh = tl.program_id(1).to(tl.int64)
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    there = token < length
    held = tl.zeros([TOKENS], tl.int32)
    for line in range(LINES):
        tl.store(BEFORE + (bh * LINES + line) * length + token, held, mask=there)
        held += _count_bits(tl.load(LABELS + (bh * LINES + line) * pitch + first + token, mask=there, other=0))
    tl.store(HELD + bh * length + token, held, mask=there)


@triton.jit(do_not_specialize=["pitch", "first", "length", "size"])
def list_members(
    LABELS, BEFORE, STARTS, ORDER, SLOTS, pitch, first, length, size, LINES: tl.constexpr, TOKENS: tl.constexpr
):  # fmt: skip
    """ORDER [B * H, clusters * size], the members of each cluster by position, -1 behind them; and SLOTS, those of each
    token in the order of its clusters.  STARTS [B * H, length + 1]: sums of HELD.
    """
    cluster, bh = tl.program_id(0), tl.program_id(1).to(tl.int64)
    line, bit = cluster // 32, cluster % 32
    slots, listed = LINES * 32 * size, cluster * size
    labels = LABELS + (bh * LINES + line) * pitch + first
    for begin in range(0, length, TOKENS):
        token = begin + tl.arange(0, TOKENS)
        there = token < length
        word = tl.load(labels + token, mask=there, other=0)
        member = (word >> bit) & 1
        slot = listed + tl.cumsum(member, 0) - 1
        wanted = (member != 0) & (slot < (cluster + 1) * size)
        at = tl.load(STARTS + bh * (length + 1) + token, mask=wanted, other=0)
        at += tl.load(BEFORE + (bh * LINES + line) * length + token, mask=wanted, other=0)
        at += _count_bits(word & ((1 << bit) - 1))
        tl.store(ORDER + bh * slots + slot, token, mask=wanted)
        tl.store(SLOTS + bh * slots + at, slot, mask=wanted)
        listed += tl.sum(member, 0)


# ---------------------------------------------------------------- in a pass


def lay_groups(run: Pass, region: Region, labels: str, backward: bool) -> GroupShape:
    """Has a pass make the lists of a region, whose labels have that name; they are called as `list_name` says."""
    meta, n_q, n = run.metas[labels], run.metas["Q"].shape[2], run.metas["K"].shape[2]
    made = shape_of(region, meta.shape, n_q, n)
    if list_name("ORDER_Q", region) in run.metas:
        return made
    lines = meta.shape[0] * meta.shape[1] * made.lines
    sides = (("Q", n_q, 0, made.queries), ("K", n, n_q, made.keys))
    for side, length, _, own in sides:
        _name(run, list_name(f"ORDER_{side}", region), (lines, own.slots))
        _name(run, list_name(f"SLOTS_{side}", region), (lines, length if made.near else own.slots))
    if made.near:
        _name(run, list_name("FIRST_Q", region), (lines, made.firsts))
        run.step(lambda env: _sort(env, env[labels], region, made, n_q, backward))
        return made
    for side, length, first, own in sides:
        _lay_members(run, region, labels, side, length, first, own)
    return made


def list_name(name: str, region: Region) -> str:
    """What a list of a region is called in a pass."""
    return f"{name}{region.name.upper()}"


def _name(run: Pass, name: str, shape: tuple[int, ...]) -> None:
    run.metas[name] = Meta.contiguous(shape, torch.int32, run.device)


def _sort(env: Environment, labels: Tensor, region: Region, made: GroupShape, n_q: int, backward: bool) -> None:
    own = labels.flatten(0, 2)
    order, slots, first = sorted_by_label(own[:, :n_q], made.firsts, firsts=backward)
    found = {"ORDER_Q": order, "SLOTS_Q": slots, "FIRST_Q": first}
    order, slots, _ = sorted_by_label(own[:, n_q:], made.firsts)
    found |= {"ORDER_K": order, "SLOTS_K": slots}
    env.update({list_name(name, region): x for name, x in found.items()})


def _lay_members(run: Pass, region: Region, labels: str, side: str, length: int, first: int, own: Side) -> None:
    batch, heads, lines, pitch = run.metas[labels].shape
    bh = batch * heads
    before, held, starts, order, slots = (
        list_name(f"{name}_{side}", region) for name in ("BEFORE", "HELD", "STARTS", "ORDER", "SLOTS")
    )
    run.empty(before, (bh, lines, length), torch.int32)
    run.empty(held, (bh, length), torch.int32)
    values: Environment = {"LABELS": Slot(labels), "BEFORE": Slot(before), "HELD": Slot(held), "pitch": pitch}
    values |= {"first": first, "length": length, "size": own.size, "LINES": lines, "TOKENS": _TOKENS}
    run.launch(count_clusters, (cdiv(length, _TOKENS), bh, 1), values)
    _name(run, starts, (bh, length + 1))

    def add_up(env: Environment) -> None:
        sums = env[held].flatten().cumsum(0).view(bh, length)  # of all rows: of each by itself takes longer
        sums = sums - sums[:, :1] + env[held][:, :1]
        env[starts] = torch.nn.functional.pad(sums.int(), (1, 0))
        env[order] = torch.full((bh, own.slots), -1, dtype=torch.int32, device=run.device)
        env[slots] = torch.empty((bh, own.slots), dtype=torch.int32, device=run.device)

    run.step(add_up)
    values |= {"STARTS": Slot(starts), "ORDER": Slot(order), "SLOTS": Slot(slots)}
    run.launch(list_members, (lines * CLUSTERS_OF_WORD, bh, 1), values)
