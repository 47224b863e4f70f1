"""The names that generated modules use, as `sk`."""

import torch

from sparsec.kernels.device import (
    LN_2,
    LOG2_E,
    RUN_TIME,
    floor_div,
    floor_mod,
    tl,
    to_int32,
    triton,
)
from sparsec.kernels.inputs import Input, entry, is_entry, is_inside
from sparsec.kernels.loads import (
    gathered_count,
    gathered_key,
    in_long_table_row,
    in_mask,
    in_table_row,
    load_gathered_sums,
    load_residue_tile,
    load_row_stats,
    load_rows,
    load_tile,
    row_ptrs,
    rows_ptrs,
    store_rows,
    store_tile,
    tile_mask,
    tile_ptrs,
)
from sparsec.kernels.op import Operator, typed
from sparsec.kernels.positions import Positions
from sparsec.kernels.program import Group, Kernel, Program, Region, Variant, numbered
from sparsec.kernels.row_classes import in_row_class
from sparsec.kernels.softmax import row_stats, softmax_continue, softmax_end, softmax_start, softmax_step
from sparsec.kernels.splits import (
    load_carry,
    store_carry,
)
from sparsec.kernels.tables import Blocks, RandomBlocks, RandomKeys, in_listed_row
from sparsec.kernels.tiles import (
    after_range,
    ordered_ranges,
    residue_tile,
    split_first,
    split_steps,
    tile_range,
)

__all__ = [
    "LN_2",
    "LOG2_E",
    "RUN_TIME",
    "Blocks",
    "Group",
    "Input",
    "Kernel",
    "Operator",
    "Positions",
    "Program",
    "RandomBlocks",
    "RandomKeys",
    "Region",
    "Variant",
    "after_range",
    "entry",
    "floor_div",
    "floor_mod",
    "gathered_count",
    "gathered_key",
    "in_listed_row",
    "in_long_table_row",
    "in_mask",
    "in_row_class",
    "in_table_row",
    "is_entry",
    "is_inside",
    "load_carry",
    "load_gathered_sums",
    "load_residue_tile",
    "load_row_stats",
    "load_rows",
    "load_tile",
    "numbered",
    "ordered_ranges",
    "residue_tile",
    "row_ptrs",
    "row_stats",
    "rows_ptrs",
    "softmax_continue",
    "softmax_end",
    "softmax_start",
    "softmax_step",
    "split_first",
    "split_steps",
    "store_carry",
    "store_rows",
    "store_tile",
    "tile_mask",
    "tile_ptrs",
    "tile_range",
    "tl",
    "to_int32",
    "torch",
    "triton",
    "typed",
]
