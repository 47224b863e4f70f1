"""Lists of the tiles that hold a kept pair where data of the call decides, made on the device at every call.

For each tile of a line, of those that may hold a pair for some data, one kernel finds whether this data keeps some pair
of it, and whether all: by bounds of what the condition compares, and where these leave it open, pair by pair.  A second
kernel makes the list of a line.  Lines belong to one row of the batch and one head, where some input has these.
"""

from __future__ import annotations

import torch

from sparsec.kernels.device import RUN_TIME, tl, triton
from sparsec.kernels.inputs import DATA, form_of
from sparsec.kernels.launch import Environment, Pass, Slot, Slots
from sparsec.kernels.prepare import Heads
from sparsec.kernels.program import WHOLE_ROWS, Kernel, Region, cdiv
from sparsec.kernels.regions import Lists, Rules, ask_data, ask_keep, tile_of, walk_of
from sparsec.kernels.spans import span

_JUDGED_BY_ONE = 32  # that are judged one after the other
_LISTED_AT_ONCE = 256  # of a line that are listed together


def read_inputs(run: Pass) -> Environment:
    """What masks of kernels read of the inputs of a pass."""
    names = Slots(name for name in run.metas if name.startswith(DATA))
    owners = [own for own in run.program.inputs for read in (own.entries, own.members) if read]
    forms = tuple(form_of(own, run.metas[name].shape) for own, name in zip(owners, names, strict=True))
    return {"INPUTS": names, "FORMS": forms} if names else {}


def lay_data_tiles(
    run: Pass, kernel: Kernel, heads: Heads, values: Environment, q_offset: int, blocks: tuple[int, int]
) -> Environment:
    """Makes the lists that a kernel of a pass walks over, and what it takes of them; nothing where it walks ranges.

    `values`: what the kernel takes besides, by name.
    """
    (region, *_), by_query = kernel.regions, kernel.kind != "dkdv"
    if not region.answers.judge:
        return {}
    q, n = run.metas["Q"], run.metas["K"].shape[2]
    batch, all_heads, n_q = q.shape[:3]
    block_m, block_n = blocks
    by_batch, by_head = (any(form & bit for form in values["FORMS"]) for bit in (1, 2))
    rows = cdiv(n_q, WHOLE_ROWS) * WHOLE_ROWS
    lines, others = (cdiv(rows, block_m), cdiv(n, block_n)) if by_query else (cdiv(n, block_n), cdiv(n_q, block_m))
    room = max(1, min(others, _most_tiles(region, by_query, lines, n_q, n, q_offset, blocks, values)))
    name, number = f"DATA_TILES_{kernel.name.upper()}", len(run.steps)
    own = (heads.queries if by_query else heads.keys) if by_head else 1
    all_own = (all_heads if by_query else run.metas["K"].shape[1]) if by_head else 1
    total = (batch if by_batch else 1) * all_own * lines
    verdicts, listed, counts = (f"{name}_{what}_{number}" for what in ("VERDICTS", "LIST", "COUNTS"))
    run.empty(verdicts, (total, room), torch.int8)
    run.empty(listed, (total, room), torch.int32)
    run.empty(counts, (total,), torch.int32)
    taken = {"batch_lines": all_own * lines if by_batch else 0, "head_lines": lines if by_head else 0, "room": room}
    answers = region.answers
    asked = {key: values.get(key) for key in ("INPUTS", "FORMS", "TABLES", "LIST_STARTS", "LIST", "NUMBERS")}
    asked |= {key: values.get(key) for key in ("HEADS", "KV_HEADS", "FIRST_HEAD")} if by_head else {}
    asked |= {"n_q": n_q, "n": n, "q_offset": q_offset, "heads": all_heads, "own": own, **taken}
    asked |= {"VERDICTS": Slot(verdicts), "KEEP": answers.keep, "JUDGE": answers.judge}
    asked |= {"VISITS": answers.keys if by_query else answers.queries, "GROUP": values["GROUP"]}
    asked |= {"BY_QUERY": by_query, "BLOCK_M": block_m, "BLOCK_N": block_n, "AT_ONCE": _JUDGED_BY_ONE}
    rows_of_data = own * (batch if by_batch else 1)
    run.launch(judge_tiles, (lines, cdiv(room, _JUDGED_BY_ONE), rows_of_data), asked, {"num_warps": 8})
    asked |= {"DATA_LIST": Slot(listed), "COUNTS": Slot(counts), "AT_ONCE": _LISTED_AT_ONCE}
    run.launch(list_tiles, (lines, 1, rows_of_data), asked, {"num_warps": 1})
    return {"LIST_STARTS": None, "LIST": Slot(listed), "COUNTS": Slot(counts), **taken}


def _most_tiles(
    region: Region,
    by_query: bool,
    lines: int,
    n_q: int,
    n: int,
    q_offset: int,
    blocks: tuple[int, int],
    values: Environment,
) -> int:
    """The most tiles of a line that may hold a pair whatever the data."""
    own, other = blocks if by_query else blocks[::-1]
    first = torch.arange(lines) * own + (q_offset if by_query else 0)
    if by_query:
        ranges, shift, length = region.keys_visited(first, first + own - 1, n, *region.more), 0, n
    else:
        assert region.queries_visited is not None
        ranges = region.queries_visited(first, first + own - 1, n, q_offset + n_q, *region.more)
        shift, length = q_offset, n_q
    most = torch.zeros(lines, dtype=torch.int64)
    for begin, end in ranges:
        begin, end = (torch.as_tensor(x).expand(lines).sub(shift).clamp(0, length) for x in (begin, end))
        most += torch.where(begin < end, (end + other - 1) // other - begin // other, 0)
    if values.get("LIST_STARTS") is not None:
        most[: len(values["LIST_STARTS"]) - 1] += values["LIST_STARTS"].diff().cpu()
    return int(most.max())


@triton.jit
def _own_line(HEADS, KV_HEADS, FIRST_HEAD, own, batch_lines, head_lines, BY_QUERY: tl.constexpr, GROUP: tl.constexpr):
    """A program's row of the batch, its first query head, how many these are, and its line."""
    batch, head = tl.program_id(2) // own, tl.program_id(2) % own
    first, count = head, 1
    if BY_QUERY:
        if HEADS is not None:
            head = tl.load(HEADS + head)
            first = head
    else:
        first, count = head * GROUP, GROUP
        if KV_HEADS is not None:
            first, stop = tl.load(FIRST_HEAD + head), tl.load(FIRST_HEAD + head + 1)
            count = stop - first
            head = tl.load(KV_HEADS + head)
    line = tl.cast(batch, tl.int64) * batch_lines + tl.cast(head, tl.int64) * head_lines + tl.program_id(0)
    return batch, first, count, line


@triton.jit
def _static_walk(rules, lists, n_q, n, q_offset, BY_QUERY: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """The tiles of a program's line that may hold a pair whatever the data."""
    tile = tl.program_id(0)
    if BY_QUERY:
        first = q_offset + tile * BLOCK_M
        walk = walk_of(rules, lists, tile, 0, 0, n, (first, first + BLOCK_M - 1, n, n, BLOCK_N), ())
    else:
        first = tile * BLOCK_N
        walk = walk_of(rules, lists, tile, 0, 0, n_q, (first, first + BLOCK_N - 1, n, n_q, q_offset, BLOCK_M), ())
    return walk


@triton.jit(do_not_specialize=[*RUN_TIME, "own"])
def judge_tiles(
    VERDICTS, INPUTS, TABLES, LIST_STARTS, LIST, HEADS, KV_HEADS, FIRST_HEAD,
    n_q, n, q_offset, heads, own, batch_lines, head_lines, room,
    KEEP: tl.constexpr, JUDGE: tl.constexpr, VISITS: tl.constexpr, NUMBERS: tl.constexpr, FORMS: tl.constexpr,
    BY_QUERY: tl.constexpr, GROUP: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """VERDICTS [lines, room]: of the tiles of a line 0 where no pair is kept, 2 where all are, otherwise 1.

    Of several heads that share a tile of keys one verdict stands for all.
    """
    _judge_line(
        VERDICTS, Rules(KEEP, None, VISITS, NUMBERS, INPUTS, FORMS, TABLES), Lists(LIST_STARTS, LIST), HEADS,
        n_q, n, q_offset, heads, room, JUDGE, BY_QUERY, BLOCK_M, BLOCK_N, AT_ONCE,
        *_own_line(HEADS, KV_HEADS, FIRST_HEAD, own, batch_lines, head_lines, BY_QUERY, GROUP),
    )  # fmt: skip


@triton.jit
def _judge_line(
    VERDICTS, rules, lists, HEADS, n_q, n, q_offset, heads, room, JUDGE: tl.constexpr,
    BY_QUERY: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, AT_ONCE: tl.constexpr,
    batch, first, count, line,
):  # fmt: skip
    """What a program of `judge_tiles` does, for query heads first .. first + count - 1 of a line."""
    walk = _static_walk(rules, lists, n_q, n, q_offset, BY_QUERY, BLOCK_M, BLOCK_N)
    begin = tl.program_id(1) * AT_ONCE
    for step in range(begin, tl.minimum(begin + AT_ONCE, walk.steps)):
        other, _ = tile_of(walk, lists, step)
        tile_m, tile_n = tl.program_id(0), other
        if not BY_QUERY:
            tile_m, tile_n = other, tl.program_id(0)
        some, every = tl.cast(0, tl.int1), tl.cast(1, tl.int1)
        for number in range(first, first + count):
            head = number
            if (not BY_QUERY) and (HEADS is not None):
                head = tl.load(HEADS + number)
            own_some, own_every = _judged(
                rules,
                tile_m * BLOCK_M,
                tile_n * BLOCK_N,
                n_q,
                n,
                q_offset,
                (batch, head, heads),
                JUDGE,
                BLOCK_M,
                BLOCK_N,
            )
            some, every = some | own_some, every & own_every
        tl.store(VERDICTS + line * room + step, tl.where(some & every, 2, some.to(tl.int32)).to(tl.int8))


@triton.jit
def _judged(rules, row, key, n_q, n, q_offset, at, JUDGE: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """Whether some pair of a tile is kept, and whether all are, of the queries and keys that there are."""
    last_row, last_key = tl.minimum(row + BLOCK_M, n_q) - 1, tl.minimum(key + BLOCK_N, n) - 1
    there = (row <= last_row) & (key <= last_key)
    queries, keys = span(q_offset + row, q_offset + last_row), span(key, last_key)
    some, every = ask_data(JUDGE, (queries, keys, n, at), (), rules)
    some, every = some & there, every & there
    if some & (every == 0):
        q, k = row + tl.arange(0, BLOCK_M)[:, None], key + tl.arange(0, BLOCK_N)[None, :]
        inside = (q < n_q) & (k < n)
        kept = ask_keep(rules, q_offset + q, k, n, at) & inside
        some = tl.max(tl.max(kept.to(tl.int32), 1), 0) > 0
        every = tl.min(tl.min((kept | (inside == 0)).to(tl.int32), 1), 0) > 0
    return some, every


@triton.jit(do_not_specialize=[*RUN_TIME, "own"])
def list_tiles(
    VERDICTS, DATA_LIST, COUNTS, LIST_STARTS, LIST, HEADS, KV_HEADS, FIRST_HEAD,
    n_q, n, q_offset, own, batch_lines, head_lines, room, VISITS: tl.constexpr, NUMBERS: tl.constexpr,
    BY_QUERY: tl.constexpr, GROUP: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """DATA_LIST [lines, room]: 2 * tile + whether all of its pairs are kept, of COUNTS tiles."""
    _list_line(
        VERDICTS, DATA_LIST, COUNTS, Rules(None, None, VISITS, NUMBERS), Lists(LIST_STARTS, LIST),
        n_q, n, q_offset, room, BY_QUERY, BLOCK_M, BLOCK_N, AT_ONCE,
        *_own_line(HEADS, KV_HEADS, FIRST_HEAD, own, batch_lines, head_lines, BY_QUERY, GROUP),
    )  # fmt: skip


@triton.jit
def _list_line(
    VERDICTS, DATA_LIST, COUNTS, rules, lists, n_q, n, q_offset, room,
    BY_QUERY: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, AT_ONCE: tl.constexpr,
    batch, first, count, line,
):  # fmt: skip
    """What a program of `list_tiles` does."""
    walk = _static_walk(rules, lists, n_q, n, q_offset, BY_QUERY, BLOCK_M, BLOCK_N)
    listed = 0
    for begin in range(0, walk.steps, AT_ONCE):
        step = begin + tl.arange(0, AT_ONCE)
        there = step < walk.steps
        found = tl.load(VERDICTS + line * room + step, mask=there, other=0).to(tl.int32)
        tile, _ = tile_of(walk, lists, tl.where(there, step, 0))
        kept = tl.minimum(found, 1)
        place = listed + tl.cumsum(kept, 0) - 1
        tl.store(DATA_LIST + line * room + place, 2 * tile + found // 2, mask=kept > 0)
        listed += tl.sum(kept, 0)
    tl.store(COUNTS + line, listed)
