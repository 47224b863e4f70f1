"""A condition with other conditions in place of its tables; without numpy, which takes long to import."""

from __future__ import annotations

from collections.abc import Mapping

from sparsec.ir import nodes as ir
from sparsec.ir.algebra import complement, conjunction, disjunction


def replaced(condition: ir.Set, values: Mapping[ir.Leaf, ir.Set]) -> ir.Set:
    """The condition with these tables replaced; tables without a value stay."""
    match condition:
        case ir.And(parts):
            return conjunction(*(replaced(part, values) for part in parts))
        case ir.Or(parts):
            return disjunction(*(replaced(part, values) for part in parts))
        case ir.Not(part):
            return complement(replaced(part, values))
    return values.get(condition, condition) if isinstance(condition, ir.Leaf) else condition
