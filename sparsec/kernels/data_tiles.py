"""Lists of the tiles that hold a kept pair where data of the call decides, made on the device at every call.

Of the tiles that may hold a pair for some data, a kernel lists those that may with this data, and says whether all of
their pairs are kept: by the smallest and largest values of what the condition compares (`sparsec.kernels.spans`), so in
work that is proportional to tiles.  A line, all tiles of some queries or keys, belongs to one row of the batch and one
head, where some input has these.
"""

from __future__ import annotations

import torch

from sparsec.kernels.inputs import DATA, form_of
from sparsec.kernels.judging import list_tiles, list_tiles_of_sequences
from sparsec.kernels.launch import Environment, Pass, Slot, Slots
from sparsec.kernels.long_lines import share_long_lines
from sparsec.kernels.prepare import Heads
from sparsec.kernels.program import WHOLE_ROWS, Kernel, Region, cdiv
from sparsec.kernels.sequence_tiles import lay_tiles
from sparsec.kernels.stages import Split
from sparsec.kernels.table_tiles import list_named_tiles, tables_of_masks, tables_of_tiles

_LISTED_AT_ONCE = 256  # tiles of a line that are decided together
_LIST = "DATA_TILES"  # the list of a kernel, in the room of the one before: no kernel reads that any more


def read_inputs(run: Pass) -> Environment:
    """What masks of kernels read of the inputs of a pass."""
    names = Slots(name for name in run.metas if name.startswith(DATA))
    uses = [(own, use) for own in run.program.inputs for use in own.uses]
    forms = tuple(form_of(*use, run.metas[name].shape) for use, name in zip(uses, names, strict=True))
    return {"INPUTS": names, "FORMS": forms} if names else {}


def lay_data_tiles(
    run: Pass, kernel: Kernel, heads: Heads, values: Environment, q_offset: int, blocks: tuple[int, int]
) -> tuple[Environment, Split | None]:
    """Makes the lists that a kernel of a pass walks over, and what it takes of them; nothing where it walks ranges.

    Then which of its tiles programs split.  `values`: what the kernel takes besides, by name.
    """
    (region, *_), by_query = kernel.regions, kernel.kind != "dkdv"
    if not region.answers.judge:
        return {}, None
    q, n = run.metas["Q"], run.metas["K"].shape[2]
    batch, all_heads, n_q = q.shape[:3]
    block_m, block_n = blocks
    by_batch, by_head = (any(form & bit for form in values["FORMS"]) for bit in (1, 2))
    rows = cdiv(n_q, WHOLE_ROWS) * WHOLE_ROWS
    lines, others = (cdiv(rows, block_m), cdiv(n, block_n)) if by_query else (cdiv(n, block_n), cdiv(n_q, block_m))
    n_q, block_m = n_q // run.rows_of_query, block_m // run.rows_of_query  # from here on, of queries
    named = 1 if by_query else _heads_listed(run, values)
    room = _most_tiles(region, by_query, lines, n_q, n, q_offset, (block_m, block_n), values)
    room = max(1, min(others, room)) * named
    counts = f"DATA_TILES_{kernel.name.upper()}_COUNTS_{len(run.steps)}"
    own = (heads.queries if by_query else heads.keys) if by_head else 1
    all_own = (all_heads if by_query else run.metas["K"].shape[1]) if by_head else 1
    total = (batch if by_batch else 1) * all_own * lines
    run.scratch(_LIST, (total, room), _entry_type(others * named))
    run.scratch(counts, (total,), torch.int32)
    taken = {"batch_lines": all_own * lines if by_batch else 0, "head_lines": lines if by_head else 0, "room": room}
    asked = {key: values.get(key) for key in ("INPUTS", "FORMS", "LIST_STARTS", "LIST", "NUMBERS", "GROUP")}
    asked |= {key: values.get(key) for key in ("HEADS", "KV_HEADS", "FIRST_HEAD")} if by_head else {}
    asked |= {"n_q": n_q, "n": n, "q_offset": q_offset, "heads": all_heads, "own": own, **taken}
    asked |= {"DATA_LIST": Slot(_LIST), "COUNTS": Slot(counts), "ROWS_OF_QUERY": run.rows_of_query}
    asked |= _judging(region, by_query, (block_m, block_n)) | {"HEADS_LISTED": named}
    run.launch(list_tiles, (lines, 1, own * (batch if by_batch else 1)), asked, {"num_warps": 8, "maxnreg": 128})
    own, turns = (heads.queries, 1) if by_query else (heads.keys, values["GROUP"] // named)
    of_heads = {**taken, "HEADS": values.get("HEADS" if by_query else "KV_HEADS")}
    if run.rows_of_query > 1:  # heads side by side: their lines are short
        return {"LIST_STARTS": None, "LIST": Slot(_LIST), "COUNTS": Slot(counts), **taken}, None
    split = share_long_lines(run, counts, of_heads, lines, turns, blocks[0 if by_query else 1], own, batch)
    laid = {"LIST_STARTS": None, "LIST": Slot(_LIST), "COUNTS": Slot(counts), **taken}
    return laid | ({"HEADS_LISTED": named} if named > 1 else {}), split


def _heads_listed(run: Pass, values: Environment) -> int:
    """How many query heads the entries of a tile of keys tell apart: those that share its keys, where some input has
    lines for each of them; else 1.
    """
    kv_heads = run.metas["K"].shape[1]
    apart = any(run.metas[name].shape[1] > kv_heads for name in values["INPUTS"])
    return values["GROUP"] if apart else 1


def lay_sequence_tiles(
    run: Pass, kernel: Kernel, heads: Heads, values: Environment, blocks: tuple[int, int]
) -> tuple[Environment, int]:
    """The tiles that a kernel of a pass about several sequences works on, lists of those that they visit where data of
    the call decides or tables name some, and how many programs there are.

    A line is one of these tiles, for each head that has lines of its own.
    """
    (region, *_), by_query = kernel.regions, kernel.kind != "dkdv"
    batch, all_heads, n_q = run.metas["Q"].shape[:3]
    kv_heads, n = run.metas["K"].shape[1:3]
    (own_block, rows), (other_block, others) = list(zip(blocks, (n_q, n), strict=True))[:: 1 if by_query else -1]
    judged, tables = region.answers.judge is not None, region.rows_tables if by_query else region.columns_tables
    listed = judged or bool(tables)
    name, programs = lay_tiles(run, not by_query, batch * rows, own_block, kernel.stride, other_block * listed)
    taken: Environment = {"TILES": Slot(name), "batches": batch, **read_inputs(run)}
    taken |= tables_of_masks(region, max(rows, others), run.device)
    if not listed:
        return taken, programs
    by_head = judged and any(form & 2 for form in taken["FORMS"])
    tiles = run.metas[name].shape[0] - 1
    # Of a sequence, tiles of both sides begin and end with ragged ones.
    room = batch * (cdiv(rows, own_block) + 2) * (cdiv(others, other_block) + 2) + 4 * run.metas["SEQUENCES"].shape[0]
    copies = (all_heads if by_query else kv_heads) if by_head else 1
    counts = f"DATA_TILES_{kernel.name.upper()}_COUNTS_{len(run.steps)}"
    run.scratch(_LIST, (copies, room), _entry_type(cdiv(others, other_block) + 1))
    run.scratch(counts, (copies, tiles), torch.int32)
    lines: Environment = {"head_lines": tiles if by_head else 0, "batch_lines": 0, "room": room if by_head else 0}
    lines |= {"LIST": Slot(_LIST), "COUNTS": Slot(counts), "KEYS" if by_query else "QUERIES": None}
    asked = {key: values.get(key) for key in ("NUMBERS", "GROUP")} | taken | lines
    asked |= {key: values.get(key) for key in ("HEADS", "KV_HEADS", "FIRST_HEAD")} if by_head else {}
    asked |= {"n": n, "heads": all_heads, "most": room, **_judging(region, by_query, blocks)}
    asked |= {"DATA_LIST": Slot(_LIST), "COUNTS": Slot(counts)}
    if tables:
        asked |= {
            "FILL": region.tables_fill,
            "FULL_NAMED": region.answers.full_named,
            **tables_of_tiles(tables, max(rows, others), run.device),
        }
        run.launch(list_named_tiles, (programs, 1, 1), asked, {"num_warps": 8})
    else:
        own = (heads.queries if by_query else heads.keys) if by_head else 1
        run.launch(list_tiles_of_sequences, (programs, own, 1), asked, {"num_warps": 8})
    return taken | lines, programs


def _entry_type(tiles: int) -> torch.dtype:
    """The smallest that holds entries about so many tiles: lists have room for all tiles that could be visited."""
    return torch.uint16 if 4 * tiles <= 1 << 16 else torch.int32


def _judging(region: Region, by_query: bool, blocks: tuple[int, int]) -> Environment:
    """Constants of the kernels that make lists."""
    visits = region.answers.keys if by_query else region.answers.queries
    told = {"JUDGE": region.answers.judge, "VISITS": visits, "BY_QUERY": by_query, "AT_ONCE": _LISTED_AT_ONCE}
    return told | dict(zip(("BLOCK_M", "BLOCK_N"), blocks, strict=True))


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
