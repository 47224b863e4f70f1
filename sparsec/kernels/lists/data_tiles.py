"""Lists of the tiles that hold a kept pair where data of the call decides, made on the device at every call.

Of the tiles that may hold a pair for some data, a kernel lists those that may with this data, and says whether all of
their pairs are kept: by the smallest and largest values of what the condition compares (`tiles.spans`), so in
work that is proportional to tiles.  A line, all tiles of some queries or keys, belongs to one row of the batch and one
head, where some input has these.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from sparsec.kernels.launches.kernel_inputs import blocks_together, lists_together
from sparsec.kernels.launches.launch import Environment, Meta, Pass, Slot, Slots
from sparsec.kernels.launches.prepare import Heads
from sparsec.kernels.launches.stages import Split
from sparsec.kernels.lists.judging import ROOM_UNIT, begin_lists, list_tiles, list_tiles_of_sequences
from sparsec.kernels.lists.long_lines import share_long_lines
from sparsec.kernels.lists.rooms import ListedTiles, OwnLists, Rooms, rooms_of
from sparsec.kernels.lists.table_tiles import list_named_tiles, tables_of_masks, tables_of_tiles
from sparsec.kernels.program.inputs import BITS, DATA, Input, form_of
from sparsec.kernels.program.program import WHOLE_ROWS, Kernel, Region, cdiv
from sparsec.kernels.sequences.tiles import lay_tiles
from sparsec.kernels.tiles.chosen import EACH_LIST, SMALL

_LISTED_AT_ONCE = 256  # tiles of a line that are decided together
_QUERIES_AT_ONCE = 1024  # the same of few queries, where lists alone are asked
_MOST_LISTED = 16  # of Q that an entry is about where others are gathered: half of a tile, or less
_TYPICAL = 64, 64  # a tile
_GATHERED = 1.25  # what a step with gathered rows costs, of others
_LIST = "DATA_TILES"  # the list of a kernel, in the room of the one before: no kernel reads that any more


def read_inputs(run: Pass) -> Environment:
    """What masks of kernels read of the inputs of a pass."""
    names = Slots(name for name in run.metas if name.startswith(DATA))
    forms = tuple(form_of(*use, run.metas[name].shape) for use, name in zip(_uses(run), names, strict=True))
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
    batch, all_heads = q.shape[:2]
    by_batch, by_head = (any(form & bit for form in values["FORMS"]) for bit in (1, 2))
    tiles = _tiles_listed(run, by_query, blocks, values.get("ROWS_LISTED"), q_offset)
    lines, named = tiles.lines, 1 if by_query else _heads_listed(run, values["INPUTS"], values["GROUP"])
    room = _room_of_lines(run, region, tiles, named, values.get("LIST_STARTS"), values.get("ROWS_LISTED") is not None)
    own = (heads.queries if by_query else heads.keys) if by_head else 1
    copies = (all_heads if by_query else run.metas["K"].shape[1]) if by_head else 1
    taken = {"batch_lines": copies * lines if by_batch else 0, "head_lines": lines if by_head else 0}
    copies *= batch if by_batch else 1
    total, number = copies * lines, len(run.steps)
    counts, starts = (f"DATA_TILES_{kernel.name.upper()}_{what}_{number}" for what in ("COUNTS", "STARTS"))
    entries = cdiv(*((n, tiles.keys) if by_query else (tiles.n_q, tiles.queries)))
    taken["room"] = max(1, cdiv(copies * room.entries, ROOM_UNIT))
    run.scratch(_LIST, (taken["room"] * ROOM_UNIT,), _entry_type(entries * named))
    run.scratch(counts, (total,), torch.int32)
    asked = {key: values.get(key) for key in ("INPUTS", "FORMS", "LIST_STARTS", "LIST", "NUMBERS", "GROUP")}
    asked |= {key: values.get(key) for key in ("HEADS", "KV_HEADS", "FIRST_HEAD")} if by_head else {}
    asked |= {"n_q": tiles.n_q, "n": n, "q_offset": q_offset, "heads": all_heads, "own": own, **taken}
    asked |= {"DATA_LIST": Slot(_LIST), "COUNTS": Slot(counts), "ROWS_OF_QUERY": run.rows_of_query}
    asked |= _judging(region, by_query, (tiles.queries, tiles.keys)) | {"HEADS_LISTED": named, "RANGES": 0}
    begun = room.starts(copies, run.device)
    if begun is None:
        cursor = f"{starts}_CURSOR"
        run.scratch(starts, (total,), torch.int64)
        run.scratch(cursor, (1,), torch.int64)
        run.launch(begin_lists, (1, 1, 1), {"CURSOR": Slot(cursor)})
        asked["CURSOR"] = Slot(cursor)
    laid = {"LIST_STARTS": Slot(starts) if begun is None else begun, "LIST": Slot(_LIST), "COUNTS": Slot(counts)}
    asked["STARTS"] = laid["LIST_STARTS"]
    if room.beside is not None:
        asked |= {"BESIDE": room.beside.to(run.device), "RANGES": room.beside.shape[1], "NAMED": region.answers.named}
    if values.get("ROWS_LISTED"):
        asked |= _lists_apart(run, values)
    run.launch(list_tiles, (lines, 1, own * (batch if by_batch else 1)), asked, {"num_warps": 8, "maxnreg": 128})
    laid |= {**taken, "HEADS_LISTED": named if named > 1 else None}
    if run.rows_of_query > 1:  # heads side by side: their lines are short
        return laid, None
    own, turns = (heads.queries, 1) if by_query else (heads.keys, values["GROUP"] // named)
    of_heads = {**taken, "HEADS": values.get("HEADS" if by_query else "KV_HEADS")}
    steps = room.most * turns, blocks[0] // (values.get("ROWS_LISTED") or blocks[0])
    split = share_long_lines(run, counts, of_heads, lines, turns, blocks[0 if by_query else 1], own, batch, *steps)
    return laid, split


def _tiles_listed(
    run: Pass, by_query: bool, blocks: tuple[int, int], rows_listed: int | None, q_offset: int
) -> ListedTiles:
    """The tiles of queries and keys, without heads that stand side by side."""
    n_rows, n, (block_m, block_n) = run.metas["Q"].shape[2], run.metas["K"].shape[2], blocks
    rows = cdiv(n_rows, WHOLE_ROWS) * WHOLE_ROWS
    lines = cdiv(rows, block_m) if by_query else cdiv(n, block_n)
    queries, n_q = (rows_listed or block_m) // run.rows_of_query, n_rows // run.rows_of_query
    return ListedTiles(by_query, lines, queries, block_n, n_q, n, q_offset)


def _room_of_lines(
    run: Pass, region: Region, tiles: ListedTiles, heads: int, starts: Tensor | None, apart: bool
) -> Rooms:
    """The room of lines for one row of the batch and head, whose entries tell so many query heads apart.

    `starts`: where those tiles of a line begin that tables name.  `apart`: each list is asked.
    """
    lists = []
    for own, meta in _chosen_lists(run, region):
        bits, (rows, size) = len(meta.shape) == BITS, own.sizes
        together = 1 if apart else lists_together(rows, run.rows_of_query)
        lists.append(
            OwnLists(
                rows, size, meta.shape[3 if bits else 2], meta.shape[-1], together, blocks_together(size) if bits else 1
            )
        )
    return rooms_of(region, tiles, lists, None if starts is None else starts.diff().cpu(), heads)


def _uses(run: Pass) -> list[tuple[Input, str]]:
    """Inputs of a pass and what they are used for, in the order of the tensors that kernels read."""
    return [(own, use) for own in run.program.inputs for use in own.uses]


def _chosen_lists(run: Pass, region: Region) -> list[tuple[Input, Meta]]:
    """What a region reads of lists that are chosen."""
    read = {run.program.inputs[number].name for number in region.inputs}
    uses = zip(_uses(run), (name for name in run.metas if name.startswith(DATA)), strict=True)
    return [(own, run.metas[name]) for (own, use), name in uses if use == "chosen" and own.name in read]


def rows_listed(run: Pass, kernel: Kernel, q_offset: int) -> int | None:
    """How many rows of Q an entry of a tile of keys is about, where these are few and tiles of rows gather them.

    A tile of queries visits a tile of keys for all of its queries, if but one of them chose it: a waste, where each
    query has lists of its own and many choose apart.  None: entries are about tiles, where lists name too much for
    others to be worth it, or do not tell queries apart.
    """
    region, names = kernel.regions[0], read_inputs(run).get("INPUTS", ())
    chosen = _chosen_lists(run, region)
    if run.packed or not region.answers.judge or not chosen or _heads_listed(run, names, 2) > 1:
        return None
    if region.score_inputs:  # which may be read for a tile whose rows follow one another
        return None
    if any(own.sizes[1] < SMALL and len(meta.shape) == BITS for own, meta in chosen):
        return None
    blocks = [own.sizes[0] for own, _ in chosen]
    if run.rows_of_query * min(blocks) > _MOST_LISTED:
        return None
    rows = run.rows_of_query * math.gcd(_MOST_LISTED // run.rows_of_query, *blocks)
    few, whole = (
        _room_of_lines(run, region, _tiles_listed(run, False, _TYPICAL, each, q_offset), 1, None, True)
        for each in (rows, None)
    )
    worth = few.lines is None and _GATHERED * few.entries * rows <= whole.most_entries * _TYPICAL[0]
    return rows if worth else None


def _lists_apart(run: Pass, values: Environment) -> Environment:
    """What `list_tiles` is told instead where entries are about few queries: it asks the lists of each."""
    names, forms = list(values["INPUTS"]), list(values["FORMS"])
    for place, (_, use) in enumerate(_uses(run)):
        if use == "united":
            names[place], forms[place] = names[place - 1], forms[place - 1]
    at_once = _QUERIES_AT_ONCE if all(own.is_chosen for own, _ in _uses(run)) else _LISTED_AT_ONCE
    return {"INPUTS": Slots(names), "FORMS": tuple(forms), "ROWS_OF_QUERY": EACH_LIST, "AT_ONCE": at_once}


def _heads_listed(run: Pass, names: Iterable[str], group: int) -> int:
    """How many query heads the entries of a tile of keys tell apart: those that share its keys, `group`, where some
    input has lines for each of them; else 1.
    """
    kv_heads = run.metas["K"].shape[1]
    return group if any(run.metas[name].shape[1] > kv_heads for name in names) else 1


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
