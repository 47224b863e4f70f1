"""Lists of the tiles that hold a kept pair where data of the call decides, made on the device at every call.

Of the tiles that may hold a pair for some data, a kernel lists those that may with this data, and says whether all of
their pairs are kept: by the smallest and largest values of what the condition compares (`sparsec.kernels.spans`), so in
work that is proportional to tiles.  A line, all tiles of some queries or keys, belongs to one row of the batch and one
head, where some input has these.
"""

from __future__ import annotations

import torch

from sparsec.kernels.device import RUN_TIME, tl, triton
from sparsec.kernels.inputs import DATA, form_of
from sparsec.kernels.launch import Environment, Pass, Slot, Slots
from sparsec.kernels.prepare import Heads
from sparsec.kernels.program import WHOLE_ROWS, Kernel, Region, cdiv
from sparsec.kernels.regions import Lists, Rules, ask_data, tile_of, walk_of
from sparsec.kernels.spans import span

_LISTED_AT_ONCE = 128  # tiles of a line that are decided together


def read_inputs(run: Pass) -> Environment:
    """What masks of kernels read of the inputs of a pass."""
    names = Slots(name for name in run.metas if name.startswith(DATA))
    uses = [(own, use) for own in run.program.inputs for use in own.uses]
    forms = tuple(form_of(*use, run.metas[name].shape) for use, name in zip(uses, names, strict=True))
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
    n_q, block_m = n_q // run.rows_of_query, block_m // run.rows_of_query  # from here on, of queries
    room = max(1, min(others, _most_tiles(region, by_query, lines, n_q, n, q_offset, (block_m, block_n), values)))
    name, number = f"DATA_TILES_{kernel.name.upper()}", len(run.steps)
    own = (heads.queries if by_query else heads.keys) if by_head else 1
    all_own = (all_heads if by_query else run.metas["K"].shape[1]) if by_head else 1
    total = (batch if by_batch else 1) * all_own * lines
    listed, counts = (f"{name}_{what}_{number}" for what in ("LIST", "COUNTS"))
    run.empty(listed, (total, room), torch.int32)
    run.empty(counts, (total,), torch.int32)
    taken = {"batch_lines": all_own * lines if by_batch else 0, "head_lines": lines if by_head else 0, "room": room}
    asked = {key: values.get(key) for key in ("INPUTS", "FORMS", "LIST_STARTS", "LIST", "NUMBERS", "GROUP")}
    asked |= {key: values.get(key) for key in ("HEADS", "KV_HEADS", "FIRST_HEAD")} if by_head else {}
    asked |= {"n_q": n_q, "n": n, "q_offset": q_offset, "heads": all_heads, "own": own, **taken}
    asked |= {"DATA_LIST": Slot(listed), "COUNTS": Slot(counts), "JUDGE": region.answers.judge}
    asked |= {"VISITS": region.answers.keys if by_query else region.answers.queries, "BY_QUERY": by_query}
    asked |= {"BLOCK_M": block_m, "BLOCK_N": block_n, "AT_ONCE": _LISTED_AT_ONCE}
    asked["ROWS_OF_QUERY"] = run.rows_of_query
    run.launch(list_tiles, (lines, 1, own * (batch if by_batch else 1)), asked)
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
def list_tiles(
    DATA_LIST, COUNTS, INPUTS, LIST_STARTS, LIST, HEADS, KV_HEADS, FIRST_HEAD,
    n_q, n, q_offset, heads, own, batch_lines, head_lines, room,
    JUDGE: tl.constexpr, VISITS: tl.constexpr, NUMBERS: tl.constexpr, FORMS: tl.constexpr,
    BY_QUERY: tl.constexpr, GROUP: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, AT_ONCE: tl.constexpr,
    ROWS_OF_QUERY: tl.constexpr,
):  # fmt: skip
    """DATA_LIST [lines, room]: 2 * tile + whether all of its pairs are kept, of the COUNTS [lines] tiles of a line.

    Of several heads that share a tile of keys one entry stands for all.
    """
    _list_line(
        DATA_LIST, COUNTS, Rules(None, None, VISITS, NUMBERS, INPUTS, FORMS), Lists(LIST_STARTS, LIST), HEADS,
        n_q, n, q_offset, heads, room, JUDGE, BY_QUERY, BLOCK_M, BLOCK_N, AT_ONCE, ROWS_OF_QUERY,
        *_own_line(HEADS, KV_HEADS, FIRST_HEAD, own, batch_lines, head_lines, BY_QUERY, GROUP),
    )  # fmt: skip


@triton.jit
def _list_line(
    DATA_LIST, COUNTS, rules, lists, HEADS, n_q, n, q_offset, heads, room,
    JUDGE: tl.constexpr, BY_QUERY: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, AT_ONCE: tl.constexpr,
    ROWS_OF_QUERY: tl.constexpr, batch, first, count, line,
):  # fmt: skip
    """What a program of `list_tiles` does, for query heads first .. first + count - 1 of a line."""
    walk = _static_walk(rules, lists, n_q, n, q_offset, BY_QUERY, BLOCK_M, BLOCK_N)
    own = tl.program_id(0) + tl.zeros([1], tl.int32)
    listed = 0
    for begin in range(0, walk.steps, AT_ONCE):
        step = begin + tl.arange(0, AT_ONCE)
        there = step < walk.steps
        other, _ = tile_of(walk, lists, tl.where(there, step, 0))
        if BY_QUERY:
            queries, keys = _positions(own, BLOCK_M, n_q, q_offset), _positions(other, BLOCK_N, n, 0)
        else:
            queries, keys = _positions(other, BLOCK_M, n_q, q_offset), _positions(own, BLOCK_N, n, 0)
        there &= (queries[0] <= queries[1]) & (keys[0] <= keys[1])
        some, every = there & (step < 0), there
        for number in range(first, first + count):
            head = number
            if (not BY_QUERY) and (HEADS is not None):
                head = tl.load(HEADS + number)
            verdict = ask_data(JUDGE, (queries, keys, n, (batch, head, heads, q_offset, n_q, ROWS_OF_QUERY)), (), rules)
            some, every = some | (there & verdict[0]), every & verdict[1]
        kept = some.to(tl.int32)
        place = listed + tl.cumsum(kept, 0) - 1
        tl.store(DATA_LIST + line * room + place, 2 * other + (every & some).to(tl.int32), mask=kept > 0)
        listed += tl.sum(kept, 0)
    tl.store(COUNTS + line, listed)


@triton.jit
def _positions(tile, BLOCK: tl.constexpr, length, shift):
    """The positions of tiles, those of `length` rows that there are, as spans."""
    first, last = tile * BLOCK, tl.minimum(tile * BLOCK + BLOCK, length) - 1
    return span(shift + first, shift + last)
