"""Keys that each query lists for itself, loaded one by one: when that is worth it, and how a pass launches it.

A tile of queries would visit every tile in which any of its queries chose a key, for a few pairs of it.  Instead a
kernel goes over what is kept beside the lists, and another one over the lists, with the keys that each names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.launches.launch import Environment, Meta, Pass, Slot, Tables, remember
from sparsec.kernels.launches.prepare import Heads, gathered_setting, padded, strides_by_name
from sparsec.kernels.launches.stages import near_of, variant_for
from sparsec.kernels.lists.data_tiles import read_inputs
from sparsec.kernels.lists.rooms import ListedTiles, OwnLists, rooms_of
from sparsec.kernels.machine.hardware import dot_precision
from sparsec.kernels.machine.memory import as_contiguous
from sparsec.kernels.passes.chosen_keys_kernel import chosen_keys_dq, chosen_keys_forward, order_keys
from sparsec.kernels.passes.heads_as_rows import rows_of_query
from sparsec.kernels.program.arguments import Call
from sparsec.kernels.program.program import Kernel, Program, Region, cdiv

_LIST_OF_KEYS = "LISTED_"  # begins the names of ordered lists, among the tensors of a call
_COST_TILE = 64  # rows and keys of the tiles that costs are counted in
_HANDED_OVER = 2.0  # what it costs to go on with a tile of rows, in steps of such a tile
_SIDE_BY_SIDE = 1.3  # what a step with gathered keys costs
_ONE_BY_ONE = 0.5  # the same of one key for each row of a tile
_ROWS_APART, _KEYS_APART = 2, 8  # of a tile whose rows have keys of their own, at most: one warp has it
_BYTES_APART = 4096  # of the keys of a row, which registers have to hold twice
_ORDERED_AT_ONCE = 2048  # entries
_MOST_ORDERED = 4096  # of a list, which registers have to hold
_MOST_WEIGHED = 256  # calls


def lists_of_keys(program: Program, call: Call) -> dict[str, Tensor]:
    """The lists of single keys of a call, each in rising order, by name; nothing where tiles serve it as well."""
    if not _worth(program, call):
        return {}
    n = call.k.shape[2]
    numbers = dict.fromkeys(own.input for region in _regions(program, n) for own in region.chosen_keys)
    return {f"{_LIST_OF_KEYS}{number}": _ordered(program, call.inputs[number], n) for number in numbers}


def unread_lists(program: Program, lists: Mapping[str, Tensor], n: int) -> dict[int, Tensor]:
    """Of these lists those that forward kernels read in no other form, by the numbers of their inputs."""
    read: set[int] = set()
    for region in (region for group in program.groups for region in variant_for(group, n, packed=False).regions):
        read.update(region.beside_keys.inputs if region.chosen_keys else region.inputs, region.score_inputs)
        read.update(number for own in region.chosen_keys for number in own.inputs)
    numbers = {int(name.removeprefix(_LIST_OF_KEYS)): x for name, x in lists.items()}
    return {number: x for number, x in numbers.items() if number not in read}


def is_list_of_keys(name: str) -> bool:
    """Whether a tensor of a call is one of `lists_of_keys`."""
    return name.startswith(_LIST_OF_KEYS)


def _regions(program: Program, n: int) -> list[Region]:
    """The regions of a program that lists of single keys add to."""
    variants = (variant_for(group, n, packed=False) for group in program.groups)
    return [region for variant in variants for region in variant.regions if region.chosen_keys]


def _ordered(program: Program, x: Tensor, n: int) -> Tensor:
    x = as_contiguous(x)
    lists = Meta.of(x)
    run = program.passes.get(key := ("ordered", lists, n))
    if run is None:
        run, block = Pass(program, LISTS=lists), _padded_list(lists.shape[3])
        every, at_once = x.numel() // lists.shape[3], max(1, _ORDERED_AT_ONCE // block)
        run.empty("LISTED", lists.shape, torch.int32)
        values: Environment = {"LISTS": Slot("LISTS"), "LISTED": Slot("LISTED"), "every_list": every}
        values |= {"listed": lists.shape[3], "n": n, "BLOCK": block, "AT_ONCE": at_once}
        run.launch(order_keys, (cdiv(every, at_once), 1, 1), values)
        remember(program, key, run)
    return run({"LISTS": x})["LISTED"]


# ---------------------------------------------------------------- what it costs


def _worth(program: Program, call: Call) -> bool:
    """Whether keys one by one cost less than the tiles that hold them may, by bounds that hold for all lists.

    Queries that choose alike visit fewer tiles than these bounds; lists do not say beforehand whether they do.
    """
    if not any(own.kind == "keys" for own in program.inputs) or call.dropout is not None or call.table is not None:
        return False
    q, k = call.q, call.k
    key: tuple = "keys apart", q.shape, k.shape, call.v.shape[3], call.q_offset, call.sinks is None
    key += q.dtype, tuple(x.shape for x in call.inputs)
    known = program.weighed.get(key)
    if known is None:
        if len(program.weighed) >= _MOST_WEIGHED:
            program.weighed.clear()
        known = program.weighed[key] = _can(program, call) and _is_cheaper(program, call)
    return known


def _can(program: Program, call: Call) -> bool:
    regions = _regions(program, call.k.shape[2])
    listed = [call.inputs[own.input].shape[3] for region in regions for own in region.chosen_keys]
    if any(region.score_inputs for region in regions):  # which may be read for keys that stand side by side
        return False
    return bool(regions) and min(listed) > 0 and max(listed) <= _MOST_ORDERED


def _is_cheaper(program: Program, call: Call) -> bool:
    (_, heads, n_q, _), (_, kv_heads, n, _) = call.q.shape, call.k.shape
    rows = rows_of_query(program, call.q, call.k, call.inputs) if call.sinks is None else 1
    apart = tiled = 0.0
    for region in _regions(program, n):
        queries = ListedTiles(True, cdiv(n_q, _COST_TILE), _COST_TILE, _COST_TILE, n_q, n, call.q_offset)
        few = queries._replace(lines=cdiv(n_q * rows, _COST_TILE), queries=_COST_TILE // rows)
        own = [OwnLists(1, 1, n_q, call.inputs[lists.input].shape[3]) for lists in region.chosen_keys]
        tiled += rooms_of(region, few, own, None, 1).entries / rows
        apart += rooms_of(region.beside_keys, queries, (), None, 1).entries
        for each in own:
            together = _heads_together(program, region, heads, kv_heads, [x.shape[1] for x in call.inputs])
            steps = min(_ONE_BY_ONE * each.listed, _SIDE_BY_SIDE * cdiv(each.listed, together))
            apart += queries.lines * (_HANDED_OVER + steps)
    return apart < tiled


def _heads_together(program: Program, region: Region, heads: int, kv_heads: int, lists: Sequence[int]) -> int:
    """How many heads that share a key head and its lists are rows of one tile: a power of two."""
    group = heads // kv_heads
    alone = program.by_head or region.answers.score is not None or any(x > kv_heads for x in lists)
    return 1 if alone else min(group & -group, _COST_TILE)


# ---------------------------------------------------------------- launches


class OverList(NamedTuple):
    """A kernel over lists of single keys: of a region the one of that place."""

    kernel: Kernel
    region: Region
    place: int


class KeysApart(NamedTuple):
    """A kernel of the plan as several: over what is kept beside lists, and over these."""

    beside: Kernel
    lists: tuple[OverList, ...]


def keys_apart(run: Pass, kernel: Kernel) -> KeysApart | None:
    """The kernels that serve one of the plan where its pass has lists of single keys; None where it has none."""
    here = [(region, place) for region in kernel.regions for place in range(len(region.chosen_keys))]
    if not here or not any(map(is_list_of_keys, run.metas)):
        return None
    regions = tuple(
        region.beside_keys._replace(numbers=region.numbers) if region.chosen_keys else region
        for region in kernel.regions
    )
    beside = kernel._replace(regions=regions, end="carry", split_prefix=0, before_lists=True)
    between = kernel._replace(begin="continue", end="carry")
    kernels = *[between] * (len(here) - 1), between._replace(end=kernel.end)
    return KeysApart(beside, tuple(OverList(each, *own) for each, own in zip(kernels, here, strict=True)))


_OVER_LISTS = {"forward": chosen_keys_forward, "dq": chosen_keys_dq}


def launch_chosen_keys(run: Pass, own: OverList, heads: Heads, more: Environment, q_offset: int) -> None:
    """Launches a kernel over lists of single keys; `more`: what its kind takes besides, by name."""
    kernel, region, place = own
    number, keep, _ = region.chosen_keys[place]
    q, k, v, lists = (run.metas[name] for name in ("Q", "K", "V", f"{_LIST_OF_KEYS}{number}"))
    result = "OUT" if kernel.kind == "forward" else "DQ"
    groups = [meta.shape[1] for name, meta in run.metas.items() if name.startswith("INPUT_") or is_list_of_keys(name)]
    rows = run.rows_of_query
    (block_m, block_n), options = gathered_setting(run.program, kernel, q)
    together = min(_heads_together(run.program, region, q.shape[1], k.shape[1], groups), block_m // rows)
    shared = together * rows
    apart = _ONE_BY_ONE * lists.shape[3] < _SIDE_BY_SIDE * cdiv(lists.shape[3], shared) or block_n * shared < block_m
    if apart:
        together = 1
        at_once = _BYTES_APART // (padded(max(q.shape[3], v.shape[3])) * q.dtype.itemsize)
        block_m, block_n, options = _ROWS_APART, min(at_once, _KEYS_APART), {"num_warps": 1}
    else:
        block_n = min(block_n, max(16, block_m // shared * _padded_list(lists.shape[3])))
    values = strides_by_name(q=q, k=k, v=v, r=run.metas[result]) | more | read_inputs(run) | heads.lists
    values |= {"heads": q.shape[1], "n_q": q.shape[2], "n": k.shape[2], "q_offset": q_offset}
    values |= {"listed": lists.shape[3], "lists": lists.shape[2], "groups": lists.shape[1]}
    values["lists_of_row"] = lists.shape[1] * lists.shape[2] if lists.shape[0] > 1 else 0
    values |= {"NAME": f"{kernel.name}_chosen_keys", "KEEP": keep, "NUMBERS": region.numbers or None}
    values |= {"SCORE": region.answers.score, "SCORE_GRADIENT": region.answers.score_gradient}
    values |= {"NEAR": near_of(run, kernel, q_offset), "APART": apart, "TOGETHER": together, "ROWS_OF_QUERY": rows}
    values |= {"GROUP": q.shape[1] // k.shape[1], "HEAD_DIM": q.shape[3], "BLOCK_D": padded(q.shape[3])}
    values |= {"V_DIM": v.shape[3], "BLOCK_V": padded(v.shape[3]), "BLOCK_M": block_m, "BLOCK_N": block_n}
    values |= {"PRECISION": dot_precision(q.dtype), "scale_log2": Slot("scale_log2")}
    values |= {name: Slot(name) for name in ("Q", "K", "V", *(["DO"] if kernel.kind == "dq" else []))}
    tables = [x for _, source in region.tables for x in source.rows(k.shape[2], 0, None, run.device)[1:]]
    values |= {"TABLES": Tables(tables)} if tables else {}
    values |= {"LISTED": Slot(f"{_LIST_OF_KEYS}{number}"), "PARTIAL": Slot("CARRY"), "PARTIAL_TOP": Slot("CARRY_TOP")}
    values |= {result: Slot("CARRY" if kernel.carries else result)}
    values |= {f"{result}_TOP": Slot("CARRY_TOP") if kernel.carries else None}
    grid = cdiv(q.shape[2] * together, block_m), heads.queries // together, q.shape[0]
    run.launch(_OVER_LISTS[kernel.kind], grid, values, options)


def _padded_list(listed: int) -> int:
    """The least that is no smaller."""
    return 1 << (listed - 1).bit_length()
