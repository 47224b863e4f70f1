"""How a pass goes over groups of tokens: lists of their slots, a kernel over these, one that joins what it found."""

from __future__ import annotations

from typing import Any

import torch

from sparsec.kernels.groups.joins import grouped_stats, join_softmaxes, join_sums
from sparsec.kernels.groups.kernels import grouped_dkdv, grouped_dq, grouped_forward
from sparsec.kernels.groups.lists import GroupShape, lay_groups, list_name
from sparsec.kernels.launches.launch import Environment, Pass, Slot
from sparsec.kernels.launches.prepare import Heads, group_setting, padded, strides_by_name
from sparsec.kernels.lists.data_tiles import read_inputs
from sparsec.kernels.lists.tile_lists import read_besides
from sparsec.kernels.machine.hardware import dot_precision
from sparsec.kernels.program.arguments import Dropout
from sparsec.kernels.program.inputs import DATA
from sparsec.kernels.program.program import Kernel, cdiv

_CARRIED = torch.float16  # shares of the largest number of a row, as `store_carry` has them
_JOINED_ROWS = 16  # of a program that joins what tokens have in several groups


def launch_grouped_rows(run: Pass, kernel: Kernel, heads: Heads, more: Environment, q_offset: int) -> None:
    """Out and log-sum-exp, or dq, over a region of groups; `more`: what kernels over positions of the kind take."""
    q, k, v, forward = *(run.metas[name] for name in "QKV"), kernel.kind == "forward"
    made, values, options = _prepare(run, kernel, heads, q_offset, backward=not forward)
    values |= {name: more.get(name) for name in ("STREAMS", "drop_below", "n_rows", "ROW_STATS")}
    values |= strides_by_name(q=q, k=k, v=v)
    if not forward:
        values |= strides_by_name(g=run.metas["DO"], o=run.metas["OUT"]) | {"DO": Slot("DO")}
        if kernel.begin == "init":
            _launch_stats(run, kernel, heads, more, values)
    result, batch, own = "OUT" if forward else "DQ", q.shape[0], heads.queries
    values |= _room_of_slots(run, made, made.queries.slots, {f"SLOT_{result}": "SUMS", "SLOT_TOP": "TOPS"})
    if forward:
        values |= _room_of_slots(run, made, made.queries.slots, {"SLOT_LSE": "LSES"})
    tiles = made.lines * cdiv(made.queries.slots, values["BLOCK_M"])
    run.launch(grouped_forward if forward else grouped_dq, (tiles, own, batch), values, options)
    joined = _joining(run, kernel, heads, made, "Q", made.queries.slots) | strides_by_name(r=run.metas[result])
    joined |= {"SLOT_OUT" if forward else "SLOT_SUM": Slot("SUMS_OF_SLOTS"), "SLOT_TOP": Slot("TOPS_OF_SLOTS")}
    joined |= {"SLOT_LSE": Slot("LSES_OF_SLOTS"), "length": q.shape[2]}
    joined |= {"OUT": Slot("CARRY" if kernel.carries else result)}
    joined |= {"OUT_TOP": Slot("CARRY_TOP")} if kernel.carries else {}
    joined |= {"PARTIAL": Slot("CARRY"), "PARTIAL_TOP": Slot("CARRY_TOP")} if kernel.begin == "continue" else {}
    grid = cdiv(q.shape[2], _JOINED_ROWS), own, batch
    if forward:
        joined |= {name: more.get(name) for name in ("LSE", "SINKS", "sinks_b", "kept_share")}
        run.launch(join_softmaxes, grid, joined | {"DROPS": more.get("STREAMS") is not None, "n": k.shape[2]})
    else:
        scale = 1.0 if kernel.carries else Slot("scale")
        run.launch(join_sums, grid, joined | {"BY_QUERY": True, "SHARED": False, "GROUP": 1, "scale": scale})


def launch_grouped_keys(
    run: Pass, kernel: Kernel, heads: Heads, shared: bool, q_offset: int, dropout: Dropout | None
) -> None:
    """Dk and dv over a region of groups."""
    (region,) = kernel.regions
    q, k, v, stats = (run.metas[name] for name in ("Q", "K", "V", "STATS_1"))
    made, values, options = _prepare(run, kernel, heads, q_offset, backward=True)
    values |= strides_by_name(q=q, k=k, v=v, g=run.metas["DO"])
    values |= {"DO": Slot("DO"), "ROW_STATS": Slot("STATS_1"), "n_rows": stats.shape[1]}
    values |= {"FIRST_Q": Slot(list_name("FIRST_Q", region))} if made.near else {}
    values |= {"firsts": made.firsts, "drop_below": dropout.drop_below if dropout else None}
    kept = {"DK": ("SUMS", "TOPS"), "DV": ("MORE_SUMS", "MORE_TOPS")}
    for name, (sums, tops) in kept.items():
        values |= _room_of_slots(run, made, made.keys.slots, {f"SLOT_{name}": sums, f"SLOT_{name}_TOP": tops})
    tiles = made.lines * cdiv(made.keys.slots, values["BLOCK_N"])
    run.launch(grouped_dkdv, (tiles, heads.queries, q.shape[0]), values, options)
    shared = shared and run.program.by_head and kernel.end == "store"
    joined = _joining(run, kernel, heads, made, "K", made.keys.slots)
    joined |= {"length": k.shape[2], "GROUP": q.shape[1] // k.shape[1], "BY_QUERY": False, "SHARED": shared}
    joined |= {name: heads.lists.get(name) for name in ("KV_HEADS", "FIRST_HEAD")}
    for part, (name, (sums, tops)) in enumerate(kept.items()):
        own = joined | {"SLOT_SUM": Slot(f"{sums}_OF_SLOTS"), "SLOT_TOP": Slot(f"{tops}_OF_SLOTS")}
        own |= {"OUT": Slot(f"CARRY_{name}" if kernel.carries else name)}
        own |= strides_by_name(r=run.metas[own["OUT"].name])
        if kernel.carries or kernel.begin == "continue":
            top = f"CARRY_DKDV_TOP_{part}"
            run.part(top, "CARRY_DKDV_TOP", part)
            own |= {"OUT_TOP": Slot(top)} if kernel.carries else {}
            own |= {"PARTIAL": Slot(f"CARRY_{name}"), "PARTIAL_TOP": Slot(top)} if kernel.begin == "continue" else {}
        final = not kernel.carries and not shared and name == "DK"
        own["scale"] = Slot("scale") if final else 1.0
        run.launch(join_sums, (cdiv(k.shape[2], _JOINED_ROWS), heads.keys, q.shape[0]), own)


def _prepare(
    run: Pass, kernel: Kernel, heads: Heads, q_offset: int, backward: bool
) -> tuple[GroupShape, Environment, dict[str, Any]]:
    """The groups of a kernel, most of what it takes, and its options."""
    (region,) = kernel.regions
    assert region.groups is not None
    q, k, own = run.metas["Q"], run.metas["K"], region.groups.input
    uses = [number for number, each in enumerate(run.program.inputs) for _ in each.uses]
    labels = f"{DATA}{uses.index(own)}"
    made = lay_groups(run, region, labels, backward)
    blocks, options = group_setting(run.program, kernel, q)
    values: Environment = {"Q": Slot("Q"), "K": Slot("K"), "V": Slot("V"), "LABELS": Slot(labels)}
    values |= {name: Slot(list_name(name, region)) for name in ("ORDER_Q", "ORDER_K")}
    values |= {"heads": q.shape[1], "n_q": q.shape[2], "n": k.shape[2], "q_offset": q_offset}
    values |= {"slots_q": made.queries.slots, "slots_k": made.keys.slots}
    values |= {"size_q": made.queries.size, "size_k": made.keys.size, "scale_log2": Slot("scale_log2")}
    values |= {"BY_CHUNK": made.near, "LINES": made.label_lines, "GROUP": q.shape[1] // k.shape[1]}
    values |= {"BLOCK_M": blocks[0], "BLOCK_N": blocks[1], **_told_of_groups(run, kernel), **heads.lists}
    values |= read_besides(region, "rows", q.shape[2], k.shape[2], q_offset, blocks, q.device)
    return made, values | read_inputs(run), options


def _told_of_groups(run: Pass, kernel: Kernel) -> Environment:
    """What a kernel over groups is told by constants."""
    (region,), q = kernel.regions, run.metas["Q"]
    told: Environment = {"NAME": kernel.name, "KEEP": region.answers.keep, "NUMBERS": region.numbers or None}
    told |= {"SCORE": region.answers.score, "SCORE_GRADIENT": region.answers.score_gradient}
    return told | {"HEAD_DIM": q.shape[3], "BLOCK_D": padded(q.shape[3]), "PRECISION": dot_precision(q.dtype)}


def _room_of_slots(run: Pass, made: GroupShape, slots: int, names: dict[str, str]) -> Environment:
    """Room for what slots of all heads have, by parameters of kernels, and as what it is known in the pass."""
    q = run.metas["Q"]
    count = q.shape[0] * q.shape[1] * made.lines * slots
    for name in names.values():
        if name.endswith("SUMS"):
            run.scratch(
                f"{name}_OF_SLOTS", (count, q.shape[3]), torch.float32 if q.dtype == torch.float32 else _CARRIED
            )
        else:
            run.scratch(f"{name}_OF_SLOTS", (count,), torch.float32)
    return {parameter: Slot(f"{name}_OF_SLOTS") for parameter, name in names.items()}


def _joining(run: Pass, kernel: Kernel, heads: Heads, made: GroupShape, side: str, slots: int) -> Environment:
    """What the kernels take that join what tokens of a side have in several groups."""
    (region,), q = kernel.regions, run.metas["Q"]
    values: Environment = {"NAME": f"{kernel.name}_joined", "SLOTS": Slot(list_name(f"SLOTS_{side}", region))}
    values |= {} if made.near else {"STARTS": Slot(list_name(f"STARTS_{side}", region))}
    values |= {"heads": q.shape[1], "slots": slots, "LINES": made.lines, "HEADS": heads.lists.get("HEADS")}
    return values | {"HEAD_DIM": q.shape[3], "BLOCK": _JOINED_ROWS, "BLOCK_D": padded(q.shape[3])}


def _launch_stats(run: Pass, kernel: Kernel, heads: Heads, more: Environment, values: Environment) -> None:
    """What gradients need of every row, which the first kernel of a pass leaves."""
    rows, dim = more["n_rows"], run.metas["Q"].shape[3]
    taken = {name: more.get(name) for name in ("OUT", "LSE", "DLSE", "ROW_STATS", "STREAMS", "n_rows")}
    taken |= {name: more.get(name) for name in ("drop_below", "kept_share")}
    taken |= {name: values[name] for name in ("DO", "heads", "n_q", "q_offset", *_strides_of("g"), *_strides_of("o"))}
    taken |= {"NAME": f"{kernel.name}_stats", "HEADS": heads.lists.get("HEADS"), "HEAD_DIM": dim}
    taken |= {"BLOCK": _JOINED_ROWS, "BLOCK_D": padded(dim)}
    run.launch(grouped_stats, (rows // _JOINED_ROWS, heads.queries, run.metas["Q"].shape[0]), taken)


def _strides_of(name: str) -> list[str]:
    return [f"{name}_{axis}" for axis in "bhm"]
