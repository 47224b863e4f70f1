"""Tables as conditions: short ones exactly, the others by the room that they have."""

from __future__ import annotations

from sparsec.ir import nodes as ir
from sparsec.ir.algebra import complement, conjunction, disjunction

_MOST_ENTRIES = 64

_Q, _K = ir.Var("q"), ir.Var("k")


def exact(table: ir.Leaf) -> ir.Set | None:
    """The pairs of a table as an affine condition, None for long tables and random ones."""
    if not isinstance(table, ir.Blocks) or len(table.rows) + sum(map(len, table.rows)) > _MOST_ENTRIES:
        return None
    row, column = ir.FloorDiv(_Q, table.size), ir.FloorDiv(_K, table.size)
    return ir.Or(
        tuple(
            ir.And((ir.Compare(row, "==", ir.Const(index)), ir.Member(column, blocks)))
            for index, blocks in enumerate(table.rows)
            if blocks
        )
        or (ir.FALSE,)
    )


def bound(condition: ir.Set, above: bool) -> ir.Set:
    """An affine condition that holds wherever `condition` can, or (above=False) only where it does in any case."""
    match condition:
        case ir.And(parts):
            return conjunction(*(bound(part, above) for part in parts))
        case ir.Or(parts):
            return disjunction(*(bound(part, above) for part in parts))
        case ir.Not(part):
            return complement(bound(part, not above))
    if not isinstance(condition, ir.Leaf):
        return condition
    return exact(condition) or (room(condition) if above else ir.FALSE)


def room(table: ir.Leaf) -> ir.Set:
    """An affine condition that holds wherever the table can list a pair."""
    match table:
        case ir.Blocks(size, rows):
            blocks = 1 + max((block for row in rows for block in row), default=-1)
            return ir.And(
                (ir.Compare(_Q, "<", ir.Const(size * len(rows))), ir.Compare(_K, "<", ir.Const(size * blocks)))
            )
        case ir.RandomBlocks(size, _, _, True):
            return ir.Compare(ir.FloorDiv(_K, size), "<=", ir.FloorDiv(_Q, size))
    return ir.TRUE
