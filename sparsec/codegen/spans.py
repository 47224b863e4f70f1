"""Nodes -> Triton text that decides whole tiles: whether a condition may hold for some pair, and whether for all.

It calls `sparsec.kernels.tiles.spans`: what data the condition reads is looked at once, then every test, then all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from sparsec.codegen.arguments import DataArguments
from sparsec.ir import nodes as ir
from sparsec.ir.inputs import reads

_MOST_RUNS = 16  # of an explicit set that are asked for one by one
_LONGEST_LINE = 112
_ARITHMETIC = {ir.Add: "add", ir.Sub: "sub", ir.Mul: "mul", ir.Min: "min", ir.Max: "max"}


class Spans:
    """The text of a condition on a tile of queries `q` and keys `k`, which are spans, as `n` is."""

    def __init__(self, data: DataArguments) -> None:
        self.data = data
        self.known: dict[ir.Read, str] = {}  # names of entries that are looked at
        self.tests: dict[str, str] = {}  # texts of tests, and their names

    def lines(self, condition: ir.Set) -> list[str]:
        """The body of a function that returns a verdict."""
        made = []
        for number, read in enumerate(read for read in reads(condition) if isinstance(read, ir.Read)):
            made.append(f"entries_{number} = {self._looked_at(read)}")
            self.known[read] = f"entries_{number}"
        data = _joined("or", [*dict.fromkeys(_tests(condition, False))], self._verdict)
        verdict = f"sk.judged({self._verdict(condition)}, {data})"
        tests = [line for text, name in self.tests.items() for line in _in_lines(text, f"{name} = ")]
        return [*made, *tests, *_in_lines(verdict, "return ")]

    def _looked_at(self, read: ir.Read) -> str:
        own = self.data.of_entries(read.name)
        if read.index is None:
            return f"sk.span_of_number({own})"
        index = self._counted(read.index)
        if self.data.by_position(read.name):
            return f"sk.span_of_positions({own}, {index}, n)"
        return f"sk.span_of_listed({own}, {index})"

    def _verdict(self, node: ir.Set) -> str:
        match node:
            case ir.Bool(value):
                return f"sk.verdict({value}, {value})"
            case ir.Compare() | ir.Member() | ir.DataTest():
                return self.tests.setdefault(self._test(node), f"test_{len(self.tests)}")
            case ir.And(parts):
                return _joined("and", parts, self._verdict)
            case ir.Or(parts):
                return _joined("or", parts, self._verdict)
            case ir.Not(part):
                return f"sk.verdict_not({self._verdict(part)})"
        return "sk.verdict(True, False)"  # a table: pairs will tell

    def _test(self, node: ir.Compare | ir.Member | ir.DataTest) -> str:
        match node:
            case ir.Compare(left, op, right):
                return _compared(self._compared(left), op, self._compared(right))
            case ir.Member(value, members):
                return self._member(value, members)
        return self._data(node)

    def _data(self, node: ir.DataTest) -> str:
        test = node.test
        if isinstance(test, ir.ElementOf):
            use, own = self.data.of_members(test.name)
            text = f"sk.some_{use}({own}, {self._counted(test.value)})"
        elif isinstance(test, ir.Chosen):
            text = f"sk.some_chosen({self.data.of_chosen(test, 'united')})"
        elif isinstance(test, ir.Grouped):
            text = "sk.verdict(True, False)"  # tokens that are near each other are seldom alike: pairs will tell
        else:
            text = self._test(test)
        for read in reads(node):
            if isinstance(read, ir.Read) and read.index is not None:
                text = f"sk.where_inside({self.known[read]}, {text})"
        return text

    def _member(self, value: ir.Int, members: Sequence[int]) -> str:
        edges = [place for place, (a, b) in enumerate(pairwise(members), start=1) if b > a + 1]
        runs = [(members[a], members[b - 1]) for a, b in pairwise([0, *edges, len(members)])]
        x = self._compared(value)
        if len(runs) > _MOST_RUNS:  # pairs will tell which of them
            return f"sk.verdict_and({_between(x, members[0], members[-1])}, sk.verdict(True, False))"
        return _joined("or", runs, lambda run: _between(x, *run))

    def _compared(self, node: ir.Int) -> str:
        """A side of a comparison: entries may be of any size there."""
        return self.known[node] if isinstance(node, ir.Read) else self._counted(node)

    def _counted(self, node: ir.Int) -> str:
        match node:
            case ir.Const(value):
                return _point(value)
            case ir.Var(name):
                return "sk.span(n, n)" if name == "n" else name
            case ir.Read():
                return f"sk.counted({self.known[node]})"
            case ir.FloorDiv(left, divisor):
                return f"sk.span_div({self._counted(left)}, {divisor})"
            case ir.Mod(left, divisor):
                return f"sk.span_mod({self._counted(left)}, {divisor})"
            case ir.Abs(value):
                return f"sk.span_abs({self._counted(value)})"
            case ir.Add() | ir.Sub() | ir.Mul() | ir.Min() | ir.Max():
                return f"sk.span_{_ARITHMETIC[type(node)]}({self._counted(node.left)}, {self._counted(node.right)})"
        raise TypeError(f"not an integer of a pattern: {node!r}")


def _tests(node: ir.Set, negated: bool) -> Iterator[ir.Set]:
    """The tests of data in a condition, with negations at tests: those of ~(a | b) are ~a and ~b."""
    match node:
        case ir.DataTest():
            yield ir.Not(node) if negated else node
        case ir.Not(part):
            yield from _tests(part, not negated)
        case ir.And(parts) | ir.Or(parts):
            for part in parts:
                yield from _tests(part, negated)


def _point(value: int) -> str:
    return f"sk.span({value}, {value})"


def _compared(x: str, op: ir.Comparator, y: str) -> str:
    match op:
        case "<":
            return f"sk.span_less({x}, {y})"
        case ">":
            return f"sk.span_less({y}, {x})"
        case "<=":
            return f"sk.verdict_not(sk.span_less({y}, {x}))"
        case ">=":
            return f"sk.verdict_not(sk.span_less({x}, {y}))"
        case "==":
            return f"sk.span_equal({x}, {y})"
    return f"sk.verdict_not(sk.span_equal({x}, {y}))"


def _between(x: str, first: int, last: int) -> str:
    if first == last:
        return _compared(x, "==", _point(first))
    return f"sk.verdict_and({_compared(x, '>=', _point(first))}, {_compared(x, '<=', _point(last))})"


def _in_lines(call: str, lead: str, end: str = "") -> list[str]:
    """A call behind `lead`, one argument a line where it would be long."""
    if len(lead) + len(call) + len(end) <= _LONGEST_LINE or not call.endswith(")"):
        return [f"{lead}{call}{end}"]
    function, arguments = call[:-1].split("(", 1)
    depth, starts = 0, [0]
    for place, letter in enumerate(arguments):
        depth += (letter == "(") - (letter == ")")
        starts += [place + 1] if letter == "," and not depth else []
    edges = pairwise([*starts, len(arguments) + 1])
    parts = [arguments[start : stop - 1].strip() for start, stop in edges]
    return [f"{lead}{function}(", *(f"    {line}" for part in parts for line in _in_lines(part, "", ",")), f"){end}"]


def _joined(word: str, parts: Sequence, text: Callable[..., str]) -> str:
    """A balanced tree, so that long unions nest little."""
    if len(parts) == 1:
        return text(parts[0])
    half = len(parts) // 2
    return f"sk.verdict_{word}({_joined(word, parts[:half], text)}, {_joined(word, parts[half:], text)})"
