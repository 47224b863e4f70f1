"""Conditions made of whole blocks: each b x b block of positions, counted from 0, is kept or left out as one."""

from __future__ import annotations

from functools import reduce
from math import gcd

import islpy as isl

from sparsec.ir import algebra
from sparsec.ir import nodes as ir
from sparsec.ir.inputs import inputs_read
from sparsec.sets import budgets
from sparsec.sets.context import OutOfBudget, budget, context
from sparsec.sets.to_isl import relation


def block_size(condition: ir.Set) -> int:
    """The largest b that is found, by proof, such that the condition is made of whole b x b blocks; 1 for none.

    Tried is what the blocks of its tables, or else its floor divisions, have in common.
    """
    if inputs_read(condition):
        return 1
    sizes = [leaf.size for leaf in ir.tables(condition)]
    sizes = sizes or [node.divisor for node in ir.walk(condition) if isinstance(node, ir.FloorDiv)]
    size = reduce(gcd, sizes, 0)
    try:
        with budget(budgets.CLOSURE):
            return size if size > 1 and _whole(condition, size) else 1
    except OutOfBudget:
        return 1


def _whole(node: ir.Set, size: int) -> bool:
    """Conditions of whole blocks stay so under and, or and not."""
    if not ir.leaves(node):
        pairs = relation(node)
        return pairs.apply(_block(size)).is_subset(pairs)
    match node:
        case ir.Not(part):
            return _whole(part, size)
        case ir.And(parts) | ir.Or(parts):
            tables = [part for part in parts if ir.leaves(part)]
            join = algebra.conjunction if isinstance(node, ir.And) else algebra.disjunction
            plain = join(*(part for part in parts if not ir.leaves(part)))
            return _whole(plain, size) and all(_whole(part, size) for part in tables)
    assert isinstance(node, ir.Table), node
    return node.size % size == 0


def _block(size: int) -> isl.Map:
    """A pair to all pairs of its block."""
    same = " and ".join(f"floor({x}/{size}) = floor({x}'/{size})" for x in "qk")
    return isl.Map.read_from_str(context(), f"[n] -> {{ [q, k] -> [q', k'] : {same} }}")
