"""The names that generated modules use, as `sk`."""

import torch

from sparsec.kernels.device import floor_div, floor_mod, tl, to_int32, triton
from sparsec.kernels.inputs import Input, entry, is_entry, is_inside
from sparsec.kernels.loads import in_long_table_row, in_table_row
from sparsec.kernels.op import Operator, typed
from sparsec.kernels.positions import Positions
from sparsec.kernels.program import Answers, Group, Kernel, Program, Region, Variant, numbered
from sparsec.kernels.row_classes import in_row_class
from sparsec.kernels.tables import Blocks, RandomBlocks, RandomKeys, in_listed_row
from sparsec.kernels.tiles import after_range, ordered_ranges, tile_range

__all__ = [
    "Answers",
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
    "in_listed_row",
    "in_long_table_row",
    "in_row_class",
    "in_table_row",
    "is_entry",
    "is_inside",
    "numbered",
    "ordered_ranges",
    "tile_range",
    "tl",
    "to_int32",
    "torch",
    "triton",
    "typed",
]
