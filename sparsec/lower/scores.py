"""Scores: the real expressions of a definition, its parameters bound, for all heads at once.

In a score `h` and `H` stay variables: kernels know the head.  What a `with` passes to a score is the pattern's own text
and bound like all of it, so heads may also differ in the numbers of their scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, cast

from sparsec import diagnostics as say
from sparsec.diagnostics import Diagnostic
from sparsec.ir import scores
from sparsec.ir.chosen import Chosen, Grouped
from sparsec.ir.nodes import Bool, Const, DataTest, Int, Node, Read, Var, leaves
from sparsec.ir.scores import Real, Scaled, Whole
from sparsec.lower.conditions import Evaluation, Frame
from sparsec.lower.inputs import own_indices
from sparsec.lower.relative import is_relative, written_out
from sparsec.lower.scope import Entry
from sparsec.lower.scored import called
from sparsec.lower.signatures import BINARY, BUILT_IN, FUNCTIONS, bind
from sparsec.syntax import ast

_MOST_WRITTEN = 40  # characters of a part that a message quotes


_S = Scaled()


@dataclass(frozen=True)
class ScoreFrame(Frame):
    """Where the body of a score is read: `s` is the score so far."""

    s: Real = _S


class Scoring(Evaluation):
    """An evaluation that knows scores, too."""

    scoring = False  # h and H stay variables

    def score(self, entry: Entry, parameters: Mapping[str, int]) -> Real | None:
        """The score of a definition whose condition has been found; None where it has none, or after an error."""
        frame = Frame(entry, {name: Const(x) for name, x in parameters.items()})
        found = self._of_body(entry.definition.body, frame)
        return None if found == Scaled() else found

    def _of_body(self, node: ast.Expr, frame: Frame) -> Real | None:
        self._step(1, node, frame)
        match node:
            case ast.Scored(body, applied):
                so_far = self._of_body(body, frame)
                for each in applied:
                    so_far = None if so_far is None else self._applied(each, frame, so_far)
                return so_far
            case ast.Match():
                arm = self.arm(node, frame)
                return None if arm is None else self._of_body(arm.body, frame)
            case ast.Name() | ast.Call():
                entry = called(node, frame.entry)
                if entry is not None and entry.definition.kind == "pattern":
                    return self._of_body(entry.definition.body, self.enter(entry, _as_call(node), frame))
        return Scaled()

    def _applied(self, node: ast.Expr, frame: Frame, s: Real) -> Real | None:
        assert isinstance(node, ast.Name | ast.Call)  # the grammar has no others
        entry = frame.entry.scope.find(node.name)
        if is_relative(node, entry):
            with self._scoring():
                return self.real(_relative(node), ScoreFrame(frame.entry, frame.values, frame.calls, s))
        assert entry is not None  # `sorts` has found it
        inner = self.enter(entry, _as_call(node), frame)
        with self._scoring():
            return self.real(entry.definition.body, ScoreFrame(inner.entry, inner.values, inner.calls, s))

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        outer, self.scoring = self.scoring, True
        yield
        self.scoring = outer

    def _value(self, node: ast.Expr, frame: Frame) -> Node | None:
        if self.scoring and isinstance(node, ast.Name) and node.name in ("h", "H") and node.name not in frame.values:
            return Var(node.name)
        if isinstance(node, ast.Scored):  # its pairs alone
            return self.value(node.body, frame)
        return super()._value(node, frame)

    # ------------------------------------------------------------ real expressions

    def real(self, node: ast.Expr, frame: ScoreFrame) -> Real | None:
        """What a part of a score says, integers as `Whole`; None after an error."""
        self.depth += 1
        self._step(1, node, frame)
        try:
            found = self._real(node, frame)
        except ArithmeticError:
            part = " ".join(node.span.text.split())
            part = part if len(part) <= _MOST_WRITTEN else f"{part[:_MOST_WRITTEN]}..."
            found = self.error(say.NotFinite(part=part, span=self.place(node.span, frame)))
        self.depth -= 1
        return found

    def _real(self, node: ast.Expr, frame: ScoreFrame) -> Real | None:
        match node:
            case ast.Real(number):
                return scores.number(number)
            case ast.Name("s") if "s" not in frame.values:
                self._step(sum(1 for _ in scores.parts(frame.s)) - 1, node, frame)  # it is written out again
                return frame.s
            case ast.Name() | ast.Index() if (source := self._float(node, frame)) is not None:
                return self._read_real(node, source, frame)
            case ast.Name() | ast.Call() if (entry := _score_named(node, frame)) is not None:
                inner = self.enter(entry, _as_call(node), frame)
                return self.real(entry.definition.body, ScoreFrame(entry, inner.values, inner.calls, frame.s))
            case ast.Call(name) if is_relative(node, frame.entry.scope.find(name)):
                return self.real(_relative(node), frame)
            case ast.Call(name) if name in _OF_NUMBERS and not frame.entry.scope.find(name):
                return self._function(node, frame)
            case ast.Unary("-", value):
                return self._joined("-", Whole(Const(0)), self.real(value, frame), node, frame)
            case ast.Binary("+" | "-" | "*" | "/" | "**" as op, left, right):
                return self._joined(op, self.real(left, frame), self.real(right, frame), node, frame)
            case ast.Choice(then, test, other):
                return self._choice(test, self.real(then, frame), self.real(other, frame), frame)
            case ast.Match():
                arm = self.arm(node, frame)
                return None if arm is None else self.real(arm.body, frame)
        whole = self.integer(node, frame)
        return None if whole is None else Whole(whole)

    def _float(self, node: ast.Name | ast.Index, frame: Frame) -> ast.Input | None:
        """The float input that a name means."""
        if isinstance(node, ast.Name) and node.name in frame.values:
            return None
        source = frame.entry.scope.input(node.name)
        return source if source is not None and source.kind == "float" else None

    def _read_real(self, node: ast.Name | ast.Index, source: ast.Input, frame: Frame) -> Real | None:
        indices = self.integers(own_indices(node, source), frame)
        return None if indices is None else scores.ReadReal(source.name, tuple(indices))

    def _joined(self, op: str, left: Real | None, right: Real | None, node: ast.Expr, frame: Frame) -> Real | None:
        """`left op right`: of integers an integer, where there is one."""
        if left is None or right is None:
            return None
        match op, left, right:
            case "+" | "-", Whole(a), Whole(b):
                return Whole(cast(Int, BINARY[op](a, b)))
            case "*", Whole(a), Whole(b) if isinstance(a, Const) or isinstance(b, Const):
                return Whole(cast(Int, BINARY[op](a, b)))
            case "**", base, _ if (value := scores.constant(base)) is None or value <= 0:
                what, hint = "the base of `**`", "a square is `x * x`"
                if value is not None:
                    raise ArithmeticError  # a power of 0 or less
                name = min(_names(base), default="s")
                assert isinstance(node, ast.Binary)
                place = self.place(node.left.span, frame)
                return self.error(say.NotConstant(what=what, name=name, hint=hint, span=place))
        return scores.arithmetic(left, cast(scores.Operator, op), right)

    def _function(self, node: ast.Call, frame: ScoreFrame) -> Real | None:
        bound = bind(BUILT_IN[node.name], node.arguments, node.span)
        assert not isinstance(bound, Diagnostic)  # `sorts` has reported it
        values = [self.real(argument, frame) for argument in bound.values()]
        if any(value is None for value in values):
            return None
        known = cast(list[Real], values)
        whole = [value.value for value in known if isinstance(value, Whole)]
        if node.name in FUNCTIONS and len(whole) == len(known):
            return Whole(FUNCTIONS[node.name](*whole))
        if node.name in ("min", "max"):
            kind, found = cast(Literal["min", "max"], node.name), known[0]
            for value in known[1:]:
                found = scores.extreme(kind, found, value)
            return found
        return scores.apply(cast(scores.Function, node.name), known[0])

    def _choice(self, test: ast.Expr, then: Real | None, other: Real | None, frame: ScoreFrame) -> Real | None:
        condition = self.set(test, frame)
        if condition is None or then is None or other is None:
            return None
        for leaf in leaves(condition):
            if not isinstance(leaf, DataTest) or isinstance(leaf.test, Chosen | Grouped):
                what = "sets that are chosen by content" if isinstance(leaf, DataTest) else "a table"
                return self.error(say.ScoreReads(what=what, span=self.place(test.span, frame)))
        if isinstance(condition, Bool):
            return then if condition.value else other
        return then if then == other else scores.Choose(then, condition, other)


_OF_NUMBERS = ("abs", "min", "max", "tanh", "exp", "log", "sqrt")


def _score_named(node: ast.Name | ast.Call, frame: ScoreFrame) -> Entry | None:
    """The score that a name means."""
    if isinstance(node, ast.Name) and node.name in frame.values:
        return None
    entry = called(node, frame.entry)
    return entry if entry is not None and entry.definition.kind == "score" else None


def _relative(node: ast.Name | ast.Call) -> ast.Expr:
    found = written_out(node)
    assert not isinstance(found, Diagnostic)  # `sorts` has reported it
    return found


def _as_call(node: ast.Name | ast.Call) -> ast.Call:
    return node if isinstance(node, ast.Call) else ast.Call(node.name, (), span=node.span)


def _names(node: Real) -> frozenset[str]:
    return frozenset(part.name for part in scores.parts(node) if isinstance(part, Var | Read | scores.ReadReal))
