"""Lines of a list of the call that are far longer than others, cut into shares for several programs, on the device.

How long lines are is not known before the list is made, so that the host can only bound how many shares there are: it
launches programs for so many, and those without a share end at once.
"""

from __future__ import annotations

import torch

from sparsec.kernels.launches.launch import Environment, Pass, Slot
from sparsec.kernels.launches.stages import Split
from sparsec.kernels.machine.device import RUN_TIME, tl, to_int32, triton
from sparsec.kernels.program.program import cdiv
from sparsec.kernels.tiles.shares import SHARE_COLUMNS, line_of

_LEAST_STEPS = 16  # of a share; lines of twice as many are not long
_SHARES = 256  # of lines that are split: enough to fill a GPU
_FEW_LINES, _MANY_LINES = 256, 4096  # that are long, at least and at most
_COUNTS_AT_ONCE = 1024, 8192  # where there are few, and where there are many
_COLUMNS = getattr(SHARE_COLUMNS, "value", SHARE_COLUMNS)


def share_long_lines(
    run: Pass,
    counts: str,
    values: Environment,
    lines: int,
    turns: int,
    block: int,
    own: int,
    batch: int,
    most: int,
    together: int,
) -> Split | None:
    """Cuts the long lines of a list into shares; None where there can be none.

    `counts`: the name of its COUNTS.  It has `lines` for each row of the batch and each of `own` heads that have lines
    of their own, as `values` say, each of whose entries is for `turns` query heads.  `most`: turns of a line.
    `together`: entries of a step.
    """
    least = _LEAST_STEPS * together
    copies = (1 if values["head_lines"] else own) * (1 if values["batch_lines"] else batch)
    if most <= 2 * least or copies > _SHARES:
        return None
    many = min(max(_FEW_LINES, lines * own * batch // 8), _MANY_LINES)
    groups = own * batch // copies
    entries, total = (_SHARES + many) // copies, lines * groups
    run.scratch(f"{counts}_SHARES", (1 + entries, _COLUMNS), torch.int32)
    shares = {key: values[key] for key in ("batch_lines", "head_lines")} | {"SHARES": Slot(f"{counts}_SHARES")}
    asked = {**shares, "COUNTS": Slot(counts), "HEADS": values["HEADS"] if values["head_lines"] else None}
    asked |= {"lines": lines, "own": own if values["head_lines"] else 1, "total": total, "turns": turns}
    asked |= {"copies": copies, "many": many, "most": _SHARES, "least": least}
    few, many_lines = _COUNTS_AT_ONCE
    at_once, warps = (max(1 << (total - 1).bit_length(), 128), 4) if total <= few else (many_lines, 16)
    asked |= {"AT_ONCE": at_once, "ONCE": total <= at_once}
    run.launch(share_lines, (1, 1, 1), asked, {"num_warps": warps})
    taken = {**shares, "splits": cdiv(entries, groups), "split_tiles": 0, "own": own}
    # A line that is split has more steps than a share, so there are at most twice as many shares as their sum says.
    slots = min(2 * _SHARES, 2 * total * copies * most // least)
    return Split(taken["splits"], slots, block, taken, (min(_SHARES // copies, total) * copies, 1))


@triton.jit(do_not_specialize=[*RUN_TIME, "lines", "own", "total", "turns", "copies", "many", "most", "least"])
def share_lines(
    COUNTS, SHARES, HEADS, batch_lines, head_lines, lines, own, total, turns, copies, many, most, least,
    AT_ONCE: tl.constexpr, ONCE: tl.constexpr,
):  # fmt: skip
    """SHARES [1 + entries, columns]: how many entries there are and how many lines are split, then the entries.

    Of T steps in all, a line is long with more than 1 / `many` of them.  Of S steps of long lines, a share has
    1 / `most`: so there are fewer than `many` long lines, and at most `many` + `most` shares, whatever the data.  All
    that counts the `copies` of a line: rows of the batch and heads that have it in common.  First come the entries of
    the first shares of lines that are split, then those of long lines that are one share, then the others.  COUNTS of
    long lines become negative.  ONCE: all lines are looked at together, so that they are loaded once.
    """
    stop = total
    if ONCE:
        stop = AT_ONCE
    steps = tl.cast(0, tl.int64)
    for begin in range(0, stop, AT_ONCE):
        x = _steps_of(COUNTS, HEADS, batch_lines, head_lines, lines, own, total, turns, begin, AT_ONCE)
        steps += tl.sum(x.to(tl.int64), 0)
    long = to_int32(tl.maximum(steps * copies // many, 2 * least))
    steps = tl.cast(0, tl.int64)
    for begin in range(0, stop, AT_ONCE):
        x = _steps_of(COUNTS, HEADS, batch_lines, head_lines, lines, own, total, turns, begin, AT_ONCE)
        steps += tl.sum(tl.where(x > long, x, 0).to(tl.int64), 0)
    share = to_int32(tl.maximum(tl.cdiv(steps * copies, most), least))
    split_lines, whole_lines, others = 0, 0, 0
    for begin in range(0, stop, AT_ONCE):
        x = _steps_of(COUNTS, HEADS, batch_lines, head_lines, lines, own, total, turns, begin, AT_ONCE)
        parts = tl.where(x > long, tl.cdiv(x, share), 0)
        split_lines += tl.sum((parts > 1).to(tl.int32), 0)
        whole_lines += tl.sum((parts == 1).to(tl.int32), 0)
        others += tl.sum(tl.maximum(parts - 1, 0), 0)
    split_place, whole_place, other_place, slot = 0, split_lines, split_lines + whole_lines, 0
    for begin in range(0, stop, AT_ONCE):
        x = _steps_of(COUNTS, HEADS, batch_lines, head_lines, lines, own, total, turns, begin, AT_ONCE)
        parts = tl.where(x > long, tl.cdiv(x, share), 0)
        split, whole = (parts > 1).to(tl.int32), (parts == 1).to(tl.int32)
        number = begin + tl.arange(0, AT_ONCE)
        row = number // lines // own, number // lines % own, number % lines
        place = tl.where(split > 0, split_place + tl.cumsum(split, 0), whole_place + tl.cumsum(whole, 0)) - 1
        slots = split * parts
        first_slot = slot + tl.cumsum(slots, 0) - slots
        _store_shares(SHARES, place, row, 0, parts, first_slot, parts > 0)
        more = tl.maximum(parts - 1, 0)
        place = other_place + tl.cumsum(more, 0) - more
        for part in range(1, tl.max(parts, 0)):
            _store_shares(SHARES, place + part - 1, row, part, parts, first_slot, part < parts)
        line = _line_number(HEADS, batch_lines, head_lines, lines, own, total, number)
        tl.store(COUNTS + line, -(x // turns), mask=parts > 0)
        split_place += tl.sum(split, 0)
        whole_place += tl.sum(whole, 0)
        other_place += tl.sum(more, 0)
        slot += tl.sum(slots, 0)
    tl.store(SHARES, other_place)
    tl.store(SHARES + 1, split_lines)


@triton.jit
def _line_number(HEADS, batch_lines, head_lines, lines, own, total, number):
    """Where the lines of a kernel's heads stand among those of all heads."""
    head = number // lines % own
    if HEADS is not None:
        head = tl.load(HEADS + head, mask=number < total, other=0)
    return line_of(number // lines // own, head, number % lines, batch_lines, head_lines)


@triton.jit
def _steps_of(
    COUNTS, HEADS, batch_lines, head_lines, lines, own, total, turns, begin, AT_ONCE: tl.constexpr
):  # fmt: skip
    """The steps of some lines, from number `begin` on."""
    number = begin + tl.arange(0, AT_ONCE)
    line = _line_number(HEADS, batch_lines, head_lines, lines, own, total, number)
    return tl.load(COUNTS + line, mask=number < total, other=0) * turns


@triton.jit
def _store_shares(SHARES, place, row, part, parts, slot, there):
    """Stores entries of SHARES."""
    entry = SHARES + (1 + place) * SHARE_COLUMNS
    tl.store(entry, row[0], mask=there)
    tl.store(entry + 1, row[1], mask=there)
    tl.store(entry + 2, row[2], mask=there)
    tl.store(entry + 3, part, mask=there)
    tl.store(entry + 4, parts, mask=there)
    tl.store(entry + 5, slot + part, mask=there)
