"""Nodes -> Python text: what the dialects (codegen/dialects.py) share.

Only nodes are printed: no text of a user's file passes through here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from sparsec.ir import nodes as ir

SUM, PRODUCT, ATOM = 1, 2, 3  # how tightly a printed integer binds
_FLIPPED: dict[ir.Comparator, ir.Comparator] = {"<": ">=", "<=": ">", "==": "!=", "!=": "==", ">=": "<", ">": "<="}
_MIRRORED: dict[ir.Comparator, ir.Comparator] = {"<": ">", "<=": ">=", "==": "==", "!=": "!=", ">=": "<=", ">": "<"}
_LONGEST_LINE = 96


class Printer(ABC):
    """What the dialects share: sums, products and comparisons look the same in all of them."""

    conjunction: str
    disjunction: str

    def __init__(self, leaves: tuple[ir.Table, ...] = ()) -> None:
        self.leaves = leaves  # tables of the module, by number

    def integer(self, node: ir.Int) -> str:
        return self._int(node)[0]

    def condition(self, node: ir.Set) -> str:
        """One expression, safe to stand as an operand of `&`, `|`, `and`, `or`."""
        match node:
            case ir.Bool(value):
                return str(value)
            case ir.Compare():
                return f"({self._compare(node)})"
            case ir.Member(value, members):
                return self._member(value, members)
            case ir.And(parts):
                return f"({self.conjunction.join(map(self.condition, parts))})"
            case ir.Or(parts):
                return f"({self.disjunction.join(map(self.condition, parts))})"
            case ir.Not(part):
                return self._not(part) if isinstance(part, ir.Leaf) else self.condition(_negated(part))
            case ir.DataTest():
                return self._data(node)
            case ir.Blocks() | ir.RandomBlocks() | ir.RandomKeys():
                return self._leaf(node, self.leaves.index(node))
        raise TypeError(f"not a condition: {node!r}")

    def _not(self, leaf: ir.Leaf) -> str:
        raise TypeError(f"no tables in this dialect: {leaf!r}")

    def _leaf(self, leaf: ir.Table, index: int) -> str:
        raise TypeError(f"no tables in this dialect: {leaf!r}")

    def _data(self, leaf: ir.DataTest) -> str:
        """The test and that its reads are inside: what stands outside is read as 0."""
        parts = self._data_parts(leaf)
        return f"({self.conjunction.join(parts)})" if len(parts) > 1 else parts[0]

    def _data_parts(self, leaf: ir.DataTest) -> list[str]:
        """Conditions that hold together where a test of data does, the test last."""
        raise TypeError(f"no data of the call in this dialect: {leaf!r}")

    def _read(self, node: ir.Read) -> str:
        raise TypeError(f"no data of the call in this dialect: {node!r}")

    @abstractmethod
    def _extreme(self, kind: str, left: ir.Int, right: ir.Int) -> str:
        """The smaller, `kind` min, or the larger, max, of two."""

    @abstractmethod
    def _select(self, condition: ir.Set, then: ir.Int, other: ir.Int) -> str:
        """`then` where the condition holds, else `other`."""

    def lines(self, node: ir.Set, lead: str) -> list[str]:
        """`lead` and the condition; one operand a line where a single line would be long."""
        text = self._bare(node)
        return [lead + text] if len(lead) + len(text) <= _LONGEST_LINE else self._broken(node, lead)

    def _broken(self, node: ir.Set, lead: str) -> list[str]:
        if isinstance(node, ir.Not) and not isinstance(node.part, ir.Leaf):
            return self._broken(_negated(node.part), lead)
        if isinstance(node, ir.DataTest):
            first, *others = self._data_parts(node)
            return [f"{lead}(", f"    {first}", *(f"    {self.conjunction.lstrip()}{each}" for each in others), ")"]
        if not isinstance(node, ir.And | ir.Or):
            return [f"{lead}(", f"    {self._bare(node)}", ")"]
        join = (self.conjunction if isinstance(node, ir.And) else self.disjunction).lstrip()
        body = [line for i, part in enumerate(node.parts) for line in self._operand(part, join if i else "")]
        return [f"{lead}(", *(f"    {line}" for line in body), ")"]

    def _operand(self, node: ir.Set, lead: str) -> list[str]:
        text = self.condition(node)
        return [lead + text] if len(lead) + len(text) <= _LONGEST_LINE else self._broken(node, lead)

    def _bare(self, node: ir.Set) -> str:
        text = self.condition(node)
        return text[1:-1] if isinstance(node, ir.And | ir.Or | ir.Compare) and _wraps(text) else text

    def _int(self, node: ir.Int) -> tuple[str, int]:
        match node:
            case ir.Const(value):
                return str(value), ATOM if value >= 0 else SUM
            case ir.Var(name):
                return self._variable(name), ATOM
            case ir.Add(left, ir.Const(value)) if value < 0:
                return f"{self._at(left, SUM)} - {-value}", SUM
            case ir.Add(left, right):
                return f"{self._at(left, SUM)} + {self._at(right, PRODUCT)}", SUM
            case ir.Sub(ir.Const(0), right):
                return f"-{self._at(right, ATOM)}", SUM
            case ir.Sub(left, right):
                return f"{self._at(left, SUM)} - {self._at(right, PRODUCT)}", SUM
            case ir.Mul(left, right):
                return f"{self._at(left, PRODUCT)} * {self._at(right, ATOM)}", PRODUCT
            case ir.FloorDiv(left, divisor):
                return self._floor_div(left, divisor), PRODUCT
            case ir.Mod(left, divisor):
                return self._mod(left, divisor), PRODUCT
            case ir.Abs(value):
                return self._abs(value), ATOM
            case ir.Min(left, right) | ir.Max(left, right):
                return self._extreme("min" if isinstance(node, ir.Min) else "max", left, right), ATOM
            case ir.Read():
                return self._read(node), ATOM
            case ir.Select(condition, then, other):
                return self._select(condition, then, other), ATOM
        raise TypeError(f"not an integer node: {node!r}")

    def _at(self, node: ir.Int, level: int) -> str:
        text, binds = self._int(node)
        return text if binds >= level else f"({text})"

    def _compare(self, node: ir.Compare) -> str:
        left, op, right = node.left, node.op, node.right
        if isinstance(left, ir.Const):
            left, op, right = right, _MIRRORED[op], left
        return f"{self.integer(left)} {op} {self.integer(right)}"

    def _member(self, value: ir.Int, members: tuple[int, ...]) -> str:
        return self.condition(ir.Or(tuple(ir.Compare(value, "==", ir.Const(member)) for member in members)))

    def _variable(self, name: str) -> str:
        return name

    def _floor_div(self, left: ir.Int, divisor: int) -> str:
        return f"{self._at(left, PRODUCT)} // {divisor}"

    def _mod(self, left: ir.Int, divisor: int) -> str:
        return f"{self._at(left, PRODUCT)} % {divisor}"

    def _abs(self, value: ir.Int) -> str:
        return f"abs({self.integer(value)})"


def _wraps(text: str) -> bool:
    """Whether the first parenthesis of `text` closes at its end."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return letter == ")" and place == len(text) - 1
    return False


def _negated(node: ir.Set) -> ir.Set:
    """The complement, with the negation one step further in."""
    match node:
        case ir.Bool(value):
            return ir.Bool(not value)
        case ir.Compare(left, op, right):
            return ir.Compare(left, _FLIPPED[op], right)
        case ir.Member(value, members):
            return ir.And(tuple(ir.Compare(value, "!=", ir.Const(member)) for member in members))
        case ir.And(parts):
            return ir.Or(tuple(ir.Not(part) for part in parts))  # ~(a & b) = ~a | ~b
        case ir.Or(parts):
            return ir.And(tuple(ir.Not(part) for part in parts))  # ~(a | b) = ~a & ~b
        case ir.Not(part):
            return part
    return ir.Not(node)  # a leaf
