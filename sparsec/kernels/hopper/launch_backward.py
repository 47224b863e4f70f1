"""How a pass launches the backward kernel of the Hopper tier."""

from __future__ import annotations

import torch

from sparsec.kernels.hopper.backward.kernel import hopper_backward_kernel
from sparsec.kernels.hopper.backward.row_stats import hopper_join_sums, hopper_row_stats
from sparsec.kernels.hopper.backward.step_list import hopper_list_steps, hopper_sequence_stats
from sparsec.kernels.hopper.backward_steps import (
    STEP_KEYS,
    STEP_QUERIES,
    last_tiles_first,
    listed_steps,
    steps_of,
)
from sparsec.kernels.hopper.launch_forward import hopper_box
from sparsec.kernels.hopper.resources import BACKWARD_TILES, hopper_size
from sparsec.kernels.launches.direct import Box
from sparsec.kernels.launches.launch import Environment, Pass, Slot
from sparsec.kernels.launches.prepare import strides_by_name
from sparsec.kernels.launches.stages import Split, beside_join, join_splits, lay_splits, near_of
from sparsec.kernels.machine.gluon import gl
from sparsec.kernels.machine.hardware import processors
from sparsec.kernels.machine.memory import dense_strides
from sparsec.kernels.program.program import Kernel, cdiv
from sparsec.kernels.sequences.tiles import lay_tiles, programs_for
from sparsec.kernels.tiles.splits import reduce_splits

# Of the loading and storing warps and both groups: 24 and 240 registers a thread.
_BACKWARD_OPTIONS = {"num_warps": 4, "maxnreg": 168}
# Programs that work on tiles of one head find its queries in the L2 cache.  But where tiles follow one another, these
# programs wait for one another: so at most one in so many tiles of a head is worked on at a time, if heads suffice.
_TILES_FOR_ONE = 3
_HEADS_WITH_PARTS = 2  # that take turns, at least, where tiles wait for parts of others
_JOINED = 1024  # numbers of dq that a program makes from several sums
_LISTED_QUERIES = 256  # tiles of queries that are asked at once whether they visit a tile of keys


def launch_hopper_backward(
    run: Pass, kernel: Kernel, q_offset: int, has_dlse: bool, ordered: bool, dropped: Environment
) -> None:
    """Launches what makes all gradients of a pass that `sparsec.kernels.hopper.tier` takes; `kernel`: that of dkdv.

    `ordered`: sums of dq have one order.  `dropped`: what kernels take about dropout, by name.
    """
    q, k = run.metas["Q"], run.metas["K"]
    (batch, heads, n_q, head_dim), (kv_heads, n) = q.shape, k.shape[1:3]
    size, (region,) = hopper_size(head_dim), kernel.regions
    queries = STEP_QUERIES[size]
    query_tiles = cdiv(n_q, queries)
    made = steps_of(region, n_q, n, q_offset, kernel.split_prefix, queries, run.device)
    for name, like, full in (("DQ", q, made.every_query), ("DK", k, made.every_key), ("DV", k, made.every_key)):
        room = run.empty if full else run.zeros
        room(name, like.shape, like.dtype, dense_strides(like.shape, like.strides))
    tiles, sums = batch * heads * query_tiles, batch * heads * made.sums
    before = _before(run, tiles, sums, 1, has_dlse, dropped) | {"sums": made.sums, "NAME": "row_stats"}
    before["q_offset"] = q_offset
    run.launch(hopper_row_stats, (query_tiles, heads, batch), before, {"num_warps": 4})
    values = _values_of_kernel(run, kernel, q_offset, ordered) | _boxes(run, tiles, sums, dropped)
    values |= {"TILES": made.tiles, "STEPS": made.steps, "tiles": len(made.tiles) - 1, "rows": batch * kv_heads}
    apart = _tiles_apart(run)
    in_turn = cdiv(apart, len(made.tiles) - 1) if made.follow else 1
    if made.split:
        in_turn = max(in_turn, _HEADS_WITH_PARTS)
    values["together"] = heads_in_turn(in_turn, batch * kv_heads)
    split = Split(
        0,
        made.parts * batch * kv_heads * bool(made.split),
        made.split * STEP_KEYS,
        {"split_tiles": made.split, "splits": made.parts},
        (kv_heads, batch),
    )
    values |= {"DK_PARTS": None, "DV_PARTS": None, "part_rows": split.rows, "sums": made.sums}
    if split.slots:
        values |= lay_splits(run, split, {"DK_PARTS": (head_dim,), "DV_PARTS": (head_dim,)})
    values |= {"n": n, "q_offset": q_offset, "query_tiles": query_tiles}
    programs = min((len(made.tiles) - 1) * batch * kv_heads, processors(run.device))
    run.launch(hopper_backward_kernel, (programs, 1, 1), values, _BACKWARD_OPTIONS)
    for name in ("DK", "DV"):
        join_splits(run, reduce_splits, split, {"SPLITS": Slot(f"{name}_PARTS"), "OUT": Slot(name), "HEADS": None})
    beside_join(run, "DK")
    if len(made.joined):
        after: Environment = strides_by_name(r=run.metas["DQ"]) | {"heads": heads, "n_q": n_q, "sums": made.sums}
        after |= {"SUMS": Slot("SUMS"), "JOINED": made.joined, "DQ": Slot("DQ"), "scale": Slot("scale")}
        after |= {"NAME": "join_sums", "HEAD_DIM": head_dim, "BLOCK_M": queries, "BLOCK_D": size}
        chunks = queries * size // _JOINED
        run.launch(hopper_join_sums, (len(made.joined) * chunks, heads, batch), after | {"BLOCK": _JOINED})
        beside_join(run, "DV")


def launch_hopper_sequences(run: Pass, kernel: Kernel, has_dlse: bool, ordered: bool, dropped: Environment) -> None:
    """The same of a pass about several sequences: lists of tiles and steps are made on the device."""
    q, k = run.metas["Q"], run.metas["K"]
    (batch, heads, n_q, head_dim), (kv_heads, n) = q.shape, k.shape[1:3]
    step_queries = STEP_QUERIES[hopper_size(head_dim)]
    for name, like in (("DQ", q), ("DK", k), ("DV", k)):
        run.empty(name, like.shape, like.dtype, dense_strides(like.shape, like.strides))
    queries, query_programs = lay_tiles(run, False, batch * n_q, step_queries, 1)
    keys, key_programs = lay_tiles(run, True, batch * n, STEP_KEYS, 1)
    most_queries, most_keys = (run.metas[name].shape[0] - 1 for name in (queries, keys))
    answers, numbers = kernel.regions[0].answers, kernel.numbers or None
    asked: Environment = {"KEEP": answers.keep, "FULL": answers.full, "KEYS": answers.keys, "NUMBERS": numbers}
    strides = strides_by_name(q=run.metas["DQ"], k=run.metas["DK"])
    results = {name: Slot(name) for name in ("DQ", "DK", "DV")}
    before = _before(run, heads * most_queries, heads * most_queries, 2, has_dlse, dropped) | asked
    before |= {"TILES": Slot(queries), "KEY_TILES": Slot(keys), "KEY_ENDS": Slot(f"{keys}_ENDS"), "DQ": Slot("DQ")}
    before |= strides_by_name(r=run.metas["DQ"])
    before |= {"sums": most_queries, "BLOCK_N": STEP_KEYS, "NAME": "sequence_stats"}
    run.launch(hopper_sequence_stats, (query_programs, heads, 1), before, {"num_warps": 4})
    run.scratch("RANGES", (most_keys, 2), torch.int32)
    run.scratch("STEPS", (listed_steps(most_keys, n_q, step_queries), 3), torch.int32)
    listed: Environment = {name: Slot(name) for name in ("RANGES", "STEPS", "TICKETS", "DK", "DV")}
    listed |= {"TILES": Slot(keys), "QUERY_TILES": Slot(queries), "QUERY_ENDS": Slot(f"{queries}_ENDS")}
    backwards = last_tiles_first(kernel.regions[0], n_q, n, step_queries)
    listed |= asked | strides | {"kv_heads": kv_heads, "BACKWARDS": backwards, "AT_ONCE": _LISTED_QUERIES}
    listed |= {name: before[name] for name in ("HEAD_DIM", "BLOCK_M", "BLOCK_N", "BLOCK_D")} | {"NAME": "list_steps"}
    run.launch(hopper_list_steps, (key_programs, 1, 1), listed, {"num_warps": 4})
    boxes = _boxes(run, heads * most_queries, heads * most_queries, dropped)
    values = _values_of_kernel(run, kernel, 0, ordered) | boxes
    values |= strides | {f"{name}_ROWS": slot for name, slot in results.items()}
    values |= {"TILES": Slot(keys), "RANGES": Slot("RANGES"), "STEPS": Slot("STEPS"), "tiles": most_keys}
    values |= {"rows": kv_heads, "together": _tiles_apart(run), "sums": most_queries, "query_tiles": most_queries}
    values |= {"n": n, "q_offset": 0, "part_rows": 0, "BACKWARDS": backwards}
    programs = min(programs_for(most_keys, batch * n, STEP_KEYS) * kv_heads, processors(run.device))
    run.launch(hopper_backward_kernel, (programs, 1, 1), values, _BACKWARD_OPTIONS)


def _before(run: Pass, tiles: int, sums: int, counters: int, has_dlse: bool, dropped: Environment) -> Environment:
    """Room for what is left of every query and for sums, and what the kernel takes that fills in the former."""
    heads, n_q, head_dim = run.metas["Q"].shape[1:]
    size = hopper_size(head_dim)
    queries = STEP_QUERIES[size]
    run.scratch("STATS", (tiles * (3 if dropped else 2) * queries,), torch.float32)
    run.scratch("SUMS", (sums * queries * size // 32, 32), torch.float32)
    run.scratch("VISITS", (sums * 2,), torch.int32)
    run.scratch("TICKETS", (counters,), torch.int32)
    before: Environment = strides_by_name(g=run.metas["DO"], o=run.metas["OUT"])
    before |= {name: Slot(name) for name in ("OUT", "DO", "LSE", "STATS", "TICKETS", "VISITS")}
    before |= {"DLSE": Slot("DLSE") if has_dlse else None, "heads": heads, "n_q": n_q}
    return before | {"HEAD_DIM": head_dim, "BLOCK_M": queries, "BLOCK_D": size, **dropped}


def _boxes(run: Pass, tiles: int, sums: int, dropped: Environment) -> Environment:
    """What the kernel reads and writes by the copy engine; `tiles`, `sums`: that STATS and SUMS have room for."""
    size = hopper_size(run.metas["Q"].shape[3])
    queries = STEP_QUERIES[size]
    rows = {"Q": queries, "DO": queries, "K": STEP_KEYS, "V": STEP_KEYS, "DK": STEP_KEYS // 2, "DV": STEP_KEYS // 2}
    values: Environment = {name: hopper_box(name, run.metas[name], each, size) for name, each in rows.items()}
    values["DQ"] = hopper_box("DQ", run.metas["DQ"], 64, queries * size // 128)  # a half
    numbers, at_once = (3, queries) if dropped else (2, 2 * queries)  # what one copy brings: a power of 2
    values["STATS"] = _side_by_side("STATS", [tiles * numbers * queries], [at_once], gl.NVMMASharedLayout(0, 32, 1))
    lines = queries * size // 64  # of a half
    values["SUMS"] = _side_by_side("SUMS", [sums * 2 * lines, 32], [lines, 32], gl.NVMMASharedLayout(128, 32, 2))
    return values | dropped


def _values_of_kernel(run: Pass, kernel: Kernel, q_offset: int, ordered: bool) -> Environment:
    """What the kernel takes whatever the sequences are."""
    q, (region,) = run.metas["Q"], kernel.regions
    heads, kv_heads, head_dim = q.shape[1], run.metas["K"].shape[1], q.shape[3]
    size = hopper_size(head_dim)
    values: Environment = {name: Slot(name) for name in ("TICKETS", "VISITS", "scale", "scale_log2")}
    values |= {"heads": heads, "kv_heads": kv_heads, "GROUP": heads // kv_heads, "HEAD_DIM": head_dim}
    values |= {"NAME": "backward", "KEEP": region.answers.keep, "NUMBERS": kernel.numbers or None}
    values |= {"SCORE": region.answers.score, "SCORE_GRADIENT": region.answers.score_gradient}
    values["EXPONENT_AND_SLOPE"] = region.answers.exponent_and_slope
    values |= {"NEAR": near_of(run, kernel, q_offset), "QUERIES": STEP_QUERIES[size], "KEYS": STEP_KEYS}
    return values | {"BLOCK_D": size, "STAGES": BACKWARD_TILES[size].stages, "BACKWARDS": False, "ORDERED": ordered}


def _tiles_apart(run: Pass) -> int:
    """How many tiles there should be of all heads that take turns."""
    return _TILES_FOR_ONE * processors(run.device) * run.metas["Q"].shape[1] // run.metas["K"].shape[1]


def heads_in_turn(least: int, rows: int) -> int:
    """How many of `rows` key heads take turns, tile by tile: at least so many, those that are left at the end, too."""
    for parts in range(max(rows // least, 1), 1, -1):
        if rows - (parts - 1) * cdiv(rows, parts) >= least:
            return cdiv(rows, parts)
    return rows


def _side_by_side(name: str, shape: list[int], block: list[int], layout: object) -> Box:
    """Numbers side by side for the copy engine."""
    strides = [shape[1], 1] if len(shape) > 1 else [1]
    return Box(name, shape, strides, block, layout)
