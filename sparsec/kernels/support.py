"""The names that generated modules use, as `sk`."""

import torch

from sparsec.kernels.choose import Choice, Eligible
from sparsec.kernels.chosen_kernels import is_chosen, is_in_group_of, some_chosen
from sparsec.kernels.decode_program import StepGroup, StepRegion, Steps
from sparsec.kernels.device import floor_div, floor_mod, tl, to_int32, triton
from sparsec.kernels.dropout import Dropped
from sparsec.kernels.entries import (
    is_counted,
    is_listed,
    is_position,
    is_sorted,
    read_by_distance,
    read_listed,
    read_number,
    read_pair,
    read_position,
)
from sparsec.kernels.grouping import Hashing, Routing
from sparsec.kernels.input_entries import as_index, entry, is_entry, is_in_group, is_inside, is_listed_block, real_entry
from sparsec.kernels.inputs import Input
from sparsec.kernels.loads import in_long_table_row, in_table_row
from sparsec.kernels.op import Operator
from sparsec.kernels.positions import Positions
from sparsec.kernels.program import Answers, Group, Groups, Kernel, Program, Read, Reads, Region, Variant, numbered
from sparsec.kernels.reals import as_real, choose_real, real, real_distance, real_zeros
from sparsec.kernels.row_classes import in_row_class
from sparsec.kernels.spans import (
    counted,
    some_counted,
    some_sorted,
    span,
    span_abs,
    span_add,
    span_div,
    span_equal,
    span_less,
    span_max,
    span_min,
    span_mod,
    span_mul,
    span_of_listed,
    span_of_number,
    span_of_positions,
    span_sub,
    verdict,
    verdict_and,
    verdict_not,
    verdict_or,
    where_inside,
)
from sparsec.kernels.tables import Blocks, RandomBlocks, RandomKeys, in_listed_row
from sparsec.kernels.tanh import exp2_tanh, tanh
from sparsec.kernels.tiles import after_range, ordered_ranges, tile_range

__all__ = [
    "Answers",
    "Blocks",
    "Choice",
    "Dropped",
    "Eligible",
    "Group",
    "Groups",
    "Hashing",
    "Input",
    "Kernel",
    "Operator",
    "Positions",
    "Program",
    "RandomBlocks",
    "RandomKeys",
    "Read",
    "Reads",
    "Region",
    "Routing",
    "StepGroup",
    "StepRegion",
    "Steps",
    "Variant",
    "after_range",
    "as_index",
    "as_real",
    "choose_real",
    "counted",
    "entry",
    "exp2_tanh",
    "floor_div",
    "floor_mod",
    "in_listed_row",
    "in_long_table_row",
    "in_row_class",
    "in_table_row",
    "is_chosen",
    "is_counted",
    "is_entry",
    "is_in_group",
    "is_in_group_of",
    "is_inside",
    "is_listed",
    "is_listed_block",
    "is_position",
    "is_sorted",
    "numbered",
    "ordered_ranges",
    "read_by_distance",
    "read_listed",
    "read_number",
    "read_pair",
    "read_position",
    "real",
    "real_distance",
    "real_entry",
    "real_zeros",
    "some_chosen",
    "some_counted",
    "some_sorted",
    "span",
    "span_abs",
    "span_add",
    "span_div",
    "span_equal",
    "span_less",
    "span_max",
    "span_min",
    "span_mod",
    "span_mul",
    "span_of_listed",
    "span_of_number",
    "span_of_positions",
    "span_sub",
    "tanh",
    "tile_range",
    "tl",
    "to_int32",
    "torch",
    "triton",
    "verdict",
    "verdict_and",
    "verdict_not",
    "verdict_or",
    "where_inside",
]
