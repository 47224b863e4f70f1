"""Bounds and conditions on parameters, from isl back to our nodes.

isl's AST generator finds min and max and knows which operands of a division are never negative; what it builds
is translated node by node.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import TypeVar

import islpy as isl

from sparsec.ir import algebra
from sparsec.ir import nodes as ir
from sparsec.ir.ranges import needs_more
from sparsec.sets.context import OutOfBudget, unlimited

_LARGEST = 80  # constraints and floors of what is printed

_OP = isl.ast_expr_op_type

Sort = TypeVar("Sort", bound=ir.Node)

_COMPARISONS: dict[object, ir.Comparator] = {
    _OP.eq: "==",
    _OP.le: "<=",
    _OP.lt: "<",
    _OP.ge: ">=",
    _OP.gt: ">",
}
_INTEGERS: dict[object, Callable[[ir.Int, ir.Int], ir.Int]] = {
    _OP.add: ir.Add,
    _OP.sub: ir.Sub,
    _OP.mul: ir.Mul,
}
_FOLDS: dict[object, Callable[[ir.Int, ir.Int], ir.Int]] = {_OP.min: ir.Min, _OP.max: ir.Max}


def integer(value: isl.PwAff, domain: isl.Set) -> ir.Int:
    """`value` as a node, given that the parameters lie in `domain`."""
    value = value.gist(domain)
    _check([piece for piece, _ in value.get_pieces()])
    with unlimited():
        return _narrow(_number(isl.AstBuild.from_context(domain).expr_from_pw_aff(value)))


def condition(values: isl.Set, domain: isl.Set) -> ir.Set:
    """The parameter set `values` as a node, given that the parameters lie in `domain`."""
    if values.is_disjoint(domain):
        return ir.FALSE
    if domain.is_subset(values):
        return ir.TRUE
    short = values.gist(domain).coalesce()
    _check([short])
    with unlimited():
        return _narrow(_truth(isl.AstBuild.from_context(domain).expr_from_set(short)))


def _narrow(node: Sort) -> Sort:
    """`node`; OutOfBudget where a value in it may leave 64 bits, as products of coefficients do."""
    if needs_more(node, 64):
        raise OutOfBudget
    return node


def size(node: ir.Node) -> int:
    """Number of nodes: how much a reader, and a processor, has to go through."""
    return sum(1 for _ in ir.walk(node))


def _check(pieces: list[isl.Set]) -> None:
    """OutOfBudget for what would take long to print.

    The printer itself has to run without a limit: stopped half-way, it frees memory twice.
    """
    convex = [part for piece in pieces for part in piece.get_basic_sets()]
    if sum(part.n_constraint() + part.dim(isl.dim_type.div) for part in convex) > _LARGEST:
        raise OutOfBudget


def _read(expr: isl.AstExpr) -> ir.Node:
    kind = expr.get_type()
    if kind == isl.ast_expr_type.int:
        return ir.Const(expr.get_val().to_python())
    if kind == isl.ast_expr_type.id:
        return ir.Var(expr.get_id().get_name())
    return _operation(expr.get_op_type(), [expr.get_op_arg(i) for i in range(expr.get_op_n_arg())])


def _operation(op: isl.ast_expr_op_type, args: list[isl.AstExpr]) -> ir.Node:
    if op in _COMPARISONS:
        return ir.Compare(_number(args[0]), _COMPARISONS[op], _number(args[1]))
    if op in _INTEGERS:
        return _tidy(_INTEGERS[op](_number(args[0]), _number(args[1])))
    if op in _FOLDS:
        return reduce(_FOLDS[op], map(_number, args))
    match op:
        case _OP.minus:
            return ir.Sub(ir.Const(0), _number(args[0]))
        case _OP.fdiv_q | _OP.pdiv_q | _OP.div:  # `div` is exact, so rounding does not matter
            return ir.FloorDiv(_number(args[0]), _constant(args[1]))
        case _OP.pdiv_r | _OP.zdiv_r:  # `zdiv_r` is only compared with zero
            return ir.Mod(_number(args[0]), _constant(args[1]))
        case _OP.and_ | _OP.and_then:
            return algebra.conjunction(*map(_truth, args))
        case _OP.or_ | _OP.or_else:
            return algebra.disjunction(*map(_truth, args))
        case _OP.cond | _OP.select:
            return _choice(_truth(args[0]), _number(args[1]), _number(args[2]))
    raise NotImplementedError(f"isl made an operation that is not expected here: {op}")


def _tidy(node: ir.Int) -> ir.Int:
    """isl writes a multiple of d below x as -(x % d) + x; people write x // d * d."""
    match node:
        case ir.Add(ir.Sub(ir.Const(0), a), b):
            return _tidy(ir.Sub(b, a))  # -a + b = b - a
        case ir.Sub(a, ir.Mod(b, d)) if a == b:
            return ir.Mul(ir.FloorDiv(a, d), ir.Const(d))  # a - a % d = a // d * d
        case ir.Mul(ir.Const(_) as a, b):
            return ir.Mul(b, a)
        case ir.Add(ir.Add(a, ir.Const(c)), ir.Const(d)):
            return ir.Add(a, ir.Const(c + d))
    return node


def _number(expr: isl.AstExpr) -> ir.Int:
    node = _read(expr)
    assert isinstance(node, ir.Int), node
    return node


def _constant(expr: isl.AstExpr) -> int:
    node = _read(expr)
    assert isinstance(node, ir.Const), node
    return node.value


def _truth(expr: isl.AstExpr) -> ir.Set:
    """isl writes a condition that is always or never true as 1 or 0."""
    node = _read(expr)
    if isinstance(node, ir.Const):
        return ir.Bool(node.value != 0)
    assert isinstance(node, ir.Set), node
    return node


def _choice(test: ir.Set, then: ir.Int, other: ir.Int) -> ir.Int:
    if isinstance(test, ir.Bool):
        return then if test.value else other
    return ir.Select(test, then, other)
