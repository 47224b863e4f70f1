"""What kernels of a pass hand on: keys gathered for them, state that the next one goes on with, split tiles."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from sparsec.kernels.launches.gather import gather_kernel
from sparsec.kernels.launches.launch import Environment, Launch, Meta, Pass, Slot
from sparsec.kernels.launches.prepare import Heads, are_near, padded, slot, strides_by_name
from sparsec.kernels.program.program import Group, Kernel, Region, Variant, cdiv, count_gathered
from sparsec.kernels.tiles.splits import reduce_splits

_SPLIT_ROWS = 16  # of a program that adds up what programs left that split a tile
_GATHERED_ROWS = 64  # of a program that gathers keys


def keys_of(run: Pass, kernel: Kernel, heads: Heads) -> dict[str, str]:
    """Names of the keys and values that a kernel is about, by its parameters; gathered ones are put side by side."""
    found: dict[str, str] = {}
    for place, region in enumerate(kernel.regions):
        if region.gathered:
            _gather(run, region, heads)
        for name in "KV":
            found[slot(name, place)] = gathered_name(name, region) if region.gathered else name
    return found


def variant_of(run: Pass, group: Group) -> Variant:
    """The variant that serves a pass: that of its length, or one that packs where it is about several sequences.

    Then rather one without tables, which serves positions anywhere.
    """
    return variant_for(group, run.metas["K"].shape[2], run.packed)


def variant_for(group: Group, n: int, packed: bool) -> Variant:
    """The same for n keys; `packed`: of several sequences."""
    found = group.at(n)
    if not packed:
        return found
    by_preference = found, *reversed(group.variants)
    return next(variant for anywhere in (True, False) for variant in by_preference if packs(variant, anywhere))


def packs(variant: Variant, anywhere: bool = True) -> bool:
    """Whether kernels of a variant can go over the tiles of several sequences: nothing is made for one length.

    `anywhere`: nor for one number of positions, as tables are.
    """
    return all(_packs(region, anywhere) for region in variant.regions)


def _packs(region: Region, anywhere: bool) -> bool:
    if region.listed or region.gathered or region.groups or region.tile_lists:
        return False
    tables = {source for _, source in region.tables}.union(region.rows_tables, region.columns_tables)
    if not tables:
        return True
    alike = all(source.same_at_every_length for source in tables)
    return alike and not anywhere and region.stride == 1 and region.answers.judge is None


def gathered_name(name: str, region: Region) -> str:
    """What a tensor of gathered keys is called."""
    return f"{name}_GATHERED{region.name.upper()}"


def _gather(run: Pass, region: Region, heads: Heads) -> None:
    """Keys and values of a gathered region side by side, contiguous [B, H_kv, keys, ..], for the heads of its group."""
    assert region.gathered is not None
    k, v = run.metas["K"], run.metas["V"]
    to = {f"{name}_GATHERED": gathered_name(name, region) for name in "KV"}
    batch, kv_heads, length, head_dim = k.shape
    keys = count_gathered(length, region.gathered)
    for name, like in zip(to.values(), (k, v), strict=True):
        run.scratch(name, (batch, kv_heads, keys, like.shape[3]), like.dtype)
    values: Environment = {"K": Slot("K"), "V": Slot("V"), **{name: Slot(stored) for name, stored in to.items()}}
    values |= strides_by_name(k=k, v=v) | dict(zip(("period", "first", "width"), region.gathered, strict=True))
    values |= {"kv_heads": kv_heads, "keys": keys, "KV_HEADS": heads.lists.get("KV_HEADS")}
    values |= {"HEAD_DIM": head_dim, "BLOCK": _GATHERED_ROWS, "BLOCK_D": padded(head_dim)}
    values |= {"V_DIM": v.shape[3], "BLOCK_V": padded(v.shape[3])}
    if keys:
        run.launch(gather_kernel, (cdiv(keys, _GATHERED_ROWS), heads.keys, batch), values)


def near_of(run: Pass, kernel: Kernel, q_offset: int) -> bool:
    """What a kernel with a score is told of positions (`near`): those of several sequences may begin anywhere."""
    positions = max(run.metas["K"].shape[2], q_offset + run.metas["Q"].shape[2])
    return kernel.regions[0].answers.score is not None and not run.packed and are_near(positions)


def carry_state(run: Pass, name: str, sums: dict[str, Meta]) -> None:
    """Room for sums that the next kernel goes on with, by their names, each like a tensor of the same rows; and under
    `name` for the largest number of each row.
    """
    for each, like in sums.items():
        run.scratch(each, like.shape, torch.float32 if like.dtype == torch.float32 else torch.float16)
    run.scratch(name, (len(sums), *like.shape[:3]), torch.float32)


class Split(NamedTuple):
    """Tiles that several programs of a kernel split."""

    programs: int  # more than there are tiles, for each row of the batch and head
    slots: int  # for what they find, and the rows of each; 0: none is split
    rows: int
    values: Environment  # that kernels take of it
    joined: tuple[int, int]  # tiles that may be split, by two axes of a grid


def split_first_tiles(prefix: int, length: int, block: int, steps: int, own: int, batch: int, heads: int) -> Split:
    """The leading tiles, those below `prefix`, whose steps programs split; of `own` of all `heads`."""
    tiles = cdiv(min(max(prefix, 0), length), block)
    splits = min(steps // 16, 64, 2048 // max(tiles * own * batch, 1))
    tiles, splits = (tiles, splits) if splits > 1 else (0, 1)
    values = {"split_tiles": tiles, "splits": splits}
    return Split(tiles * (splits - 1), splits * batch * heads * bool(tiles), tiles * block, values, (own, batch))


def lay_splits(run: Pass, split: Split, sizes: dict[str, tuple[int, ...]]) -> Environment:
    """Room for what programs find that split tiles; what kernels take of it.

    `sizes`: by its names what there is of each row, (D,) or () for a number.
    """
    for name, size in sizes.items():
        run.scratch(name, (split.slots, split.rows, *size), torch.float32)
    return {name: Slot(name) for name in sizes}


def beside_join(run: Pass, name: str) -> None:
    """The last launch may run beside the one before it, where that one sums up what programs left of a tensor."""
    *_, before, last = [None, *(step for step in run.steps if isinstance(step, Launch))]
    if before and before.kernel is reduce_splits and name in [own for _, own in before.tensors]:
        last.beside = True


def join_splits(run: Pass, kernel: Any, split: Split, values: Environment) -> None:
    """What programs found that split tiles, in one: from SPLITS [slots, rows, D] to OUT [B, H, length, D].

    `values`: tensors that the kernel takes, by name.
    """
    if not split.slots:
        return
    batch, heads, length, head_dim = run.metas[values["OUT"].name].shape
    sizes = {"heads": heads, "length": length, "rows": split.rows, "batches": batch}
    sizes |= {"HEAD_DIM": head_dim, "BLOCK_D": padded(head_dim), "BLOCK": _SPLIT_ROWS}
    sizes |= strides_by_name(r=run.metas[values["OUT"].name])
    run.launch(kernel, (cdiv(split.rows, _SPLIT_ROWS), *split.joined), {**sizes, **split.values, **values})
