"""One definition's condition for one head and layer: names bound, sets written out, constants folded.

The definition has passed `sorts`, so names, arguments and sorts are right here.  After an error the value is
None, and so is everything made of it; reading goes on, so that all errors are found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from sparsec import diagnostics as say
from sparsec.diagnostics import Diagnostic, SparsecError
from sparsec.ir import algebra
from sparsec.ir.chosen import Chooser
from sparsec.ir.inputs import inputs_read
from sparsec.ir.nodes import Comparator, Const, DataTest, ElementOf, Int, Node, Set, Var, names, walk
from sparsec.ir.ranges import Intervals, fits
from sparsec.lower.arms import intervals, overlaps
from sparsec.lower.built_in import built_in
from sparsec.lower.inputs import own_indices, read
from sparsec.lower.misread import ROOTS, is_square, lint_union, rooted
from sparsec.lower.scope import Entry
from sparsec.lower.signatures import BINARY, BUILT_IN, MAX_NUMBER, WHAT, bind, signature_of
from sparsec.source import Source, Span
from sparsec.syntax import ast

_MAX_STEPS, _MAX_DEPTH = 20_000, 150


@dataclass(frozen=True)
class Frame:
    """Where a body is read: its definition, its parameters' values, and the calls that led here, outermost first."""

    entry: Entry
    values: Mapping[str, Int | None]
    calls: tuple[Span, ...] = ()


class Evaluation:
    """`constants` binds h, H, layer and L, as far as the caller gave them; errors and warnings are collected."""

    def __init__(self, main: Source, constants: Mapping[str, int]) -> None:
        self.main, self.constants = main, constants
        self.errors: list[Diagnostic] = []
        self.warnings: list[Diagnostic] = []
        self.missing: list[tuple[Span, int]] = []  # a `match`, and a number that none of its arms takes
        self.choices: dict[Chooser, int] = {}  # what the operator chooses itself, and the line that first says so
        self.steps = self.depth = 0
        self.intervals = Intervals()

    def condition(self, entry: Entry, parameters: Mapping[str, int]) -> Set | None:
        """What the definition says.  SparsecError when it grows beyond the limits."""
        return self.set(entry.definition.body, Frame(entry, {name: Const(x) for name, x in parameters.items()}))

    def default(self, entry: Entry, default: ast.Expr, parameters: Mapping[str, int]) -> int | None:
        """The value of a parameter's default, which may name the parameters before it."""
        frame = Frame(entry, {name: Const(x) for name, x in parameters.items()})
        return self.constant(default, frame, "a default")

    def value(self, node: ast.Expr, frame: Frame) -> Node | None:
        self.depth += 1
        self._step(1, node, frame)
        result = self._value(node, frame)
        self.depth -= 1
        if isinstance(result, Const) and abs(result.value) > MAX_NUMBER:
            return self.error(say.TooLarge(span=self.place(node.span, frame)))
        if isinstance(result, Int) and not fits(bounds := self.intervals.of(result), 64):
            span = self.place(node.span, frame)
            home = "" if span is node.span else f" in `{frame.entry.definition.name}`"
            return self.error(say.TooWide(part=node.span.brief, home=home, low=bounds[0], high=bounds[1], span=span))
        return result

    def integer(self, node: ast.Expr, frame: Frame) -> Int | None:
        value = self.value(node, frame)
        assert value is None or isinstance(value, Int)
        return value

    def integers(self, nodes: tuple[ast.Expr, ...], frame: Frame) -> list[Int] | None:
        """All values, None when one of them is."""
        values = [value for value in [self.integer(node, frame) for node in nodes] if value is not None]
        return values if len(values) == len(nodes) else None

    def set(self, node: ast.Expr, frame: Frame) -> Set | None:
        value = self.value(node, frame)
        assert value is None or isinstance(value, Set)
        return value

    def _step(self, count: int, node: ast.Expr, frame: Frame) -> None:
        """Count what was read or written out.  SparsecError beyond the limits."""
        self.steps += count
        if self.steps > _MAX_STEPS or self.depth > _MAX_DEPTH:
            what = f"has more than {_MAX_STEPS:,} parts" if self.steps > _MAX_STEPS else "nests too deep"
            what = f"with its sets written out, the pattern {what}"
            raise SparsecError(say.TooComplex(what=what, span=self.place(node.span, frame)))

    def _again(self, value: Node | None, node: ast.Expr, frame: Frame, times: int = 1) -> Node | None:
        """`value`, which was read before and is written out again: walks meet all its parts as often."""
        if value is not None:
            self._step(times * (sum(1 for _ in walk(value)) - 1), node, frame)
        return value

    def constant(self, node: ast.Expr, frame: Frame, what: str) -> int | None:
        """The value of an integer that must not depend on positions or on n."""
        value = self.value(node, frame)
        if isinstance(value, Const):
            return value.value
        if value is None:
            return None
        span = self.place(node.span, frame)
        name = min(inputs_read(value) or names(value))
        return self.error(say.NotConstant(what=self.named(what, node, frame), name=name, span=span))

    def error(self, diagnostic: Diagnostic) -> None:
        self.errors.append(diagnostic)

    def place(self, span: Span, frame: Frame) -> Span:
        """`span`, or for a place in another file (the prelude, say) the call in the main file that leads to it."""
        inside = [call for call in frame.calls if call.source is self.main]
        return span if span.source is self.main or not inside else inside[-1]

    def named(self, what: str, node: ast.Expr, frame: Frame) -> str:
        """`what`, with its text when the message will point elsewhere."""
        if self.place(node.span, frame) is node.span:
            return what
        return f"{what} `{node.span.text}` in `{frame.entry.definition.name}`"

    # ------------------------------------------------------------ one method for each kind of expression

    def _value(self, node: ast.Expr, frame: Frame) -> Node | None:
        match node:
            case ast.Number(number):
                return Const(number)
            case ast.Name(name) if name in frame.values:
                return self._again(frame.values[name], node, frame)
            case ast.Name("q" | "k" | "n" as name):
                return Var(name)
            case ast.Name(name) | ast.Index(name) if source := frame.entry.scope.input(name):
                return self._read(node, source, frame)
            case ast.Name(name) if name in self.constants:
                return Const(self.constants[name])
            case ast.Name(name):
                return self._call(ast.Call(name, (), span=node.span), frame)
            case ast.Call():
                return self._call(node, frame)
            case ast.Match():
                return self._match(node, frame)
            case ast.Unary(op, inner):
                negate = algebra.complement if op == "~" else lambda value: algebra.sub(Const(0), value)
                return _join(negate, self.value(inner, frame))
            case ast.Binary("//" | "%" | "**"):
                return self._by_constant(node, frame)
            case ast.Binary(op, left, right):
                return self._binary(node, op, self.value(left, frame), self.value(right, frame), frame)
            case ast.Union(parts):
                sets = [value for value in [self.set(part, frame) for part in parts] if value is not None]
                if len(sets) < len(parts):
                    return None
                if node.span.source is self.main:
                    self.warnings += lint_union(node, sets, lambda part: self.set(part, frame))
                return algebra.disjunction(*sets)
            case ast.Chain(operands, ops):
                known = len(self.errors)
                values = self.integers(operands, frame)
                if values is None:
                    if node.span.source is self.main:
                        self.errors[known:] = rooted(node, self.errors[known:])
                    return None
                comparators = cast(tuple[Comparator, ...], ops)  # the grammar has no others
                links = zip(values, comparators, values[1:], strict=False)
                return algebra.conjunction(*(algebra.compare(*link) for link in links))  # a < b < c = (a < b) & (b < c)
            case ast.Membership():
                return self._membership(node, frame)
        raise TypeError(f"not an expression: {node!r}")

    def _read(self, node: ast.Name | ast.Index, source: ast.Input, frame: Frame) -> Node | None:
        index = [self.integer(each, frame) for each in own_indices(node, source)]
        return None if None in index else read(source, *index or [None])

    def _binary(self, node: ast.Binary, op: str, left: Node | None, right: Node | None, frame: Frame) -> Node | None:
        if op == "*" and not (isinstance(left, Const) or isinstance(right, Const) or None in (left, right)):
            hint = ROOTS if is_square(node) else ""
            return self.error(say.NonlinearProduct(hint=hint, span=self.place(node.span, frame)))
        return _join(BINARY[op], left, right)

    def _by_constant(self, node: ast.Binary, frame: Frame) -> Node | None:
        left = self.integer(node.left, frame)
        right = self.constant(node.right, frame, WHAT[node.op])
        if left is None or right is None:
            return None
        span = self.place(node.right.span, frame)
        if node.op == "**":
            return self._power(node, left, right, frame)
        if right < 1:
            what = self.named(WHAT[node.op], node.right, frame)
            return self.error(say.BadDivisor(what=what, value=right, span=span))
        return algebra.floordiv(left, right) if node.op == "//" else algebra.mod(left, right)

    def _power(self, node: ast.Binary, base: Int, exponent: int, frame: Frame) -> Int | None:
        if not isinstance(base, Const):
            span = self.place(node.left.span, frame)
            hint = ROOTS if exponent == 2 else ""
            name = min(inputs_read(base) or names(base))
            return self.error(say.NotConstant(what="the base of `**`", name=name, hint=hint, span=span))
        if exponent < 0:
            return self.error(say.NegativePower(value=exponent, span=self.place(node.right.span, frame)))
        if abs(base.value) > 1 and exponent > 31:
            return self.error(say.TooLarge(span=self.place(node.span, frame)))
        return Const(base.value**exponent)

    def _membership(self, node: ast.Membership, frame: Frame) -> Set | None:
        value = self.integer(node.value, frame)
        if isinstance(node.container, ast.Name | ast.Index):
            inside: Set | None = None if value is None else DataTest(ElementOf(value, node.container.name))
            return algebra.complement(inside) if node.negated and inside else inside
        assert isinstance(node.container, ast.Range | ast.Members)  # `sorts` has refused others
        bounds = self.integers(ast.bounds(node.container), frame)
        if value is None or bounds is None:
            return None
        if isinstance(node.container, ast.Range):
            first, last = bounds  # x in a..b = (a <= x) & (x < b)
            inside = algebra.conjunction(algebra.compare(first, "<=", value), algebra.compare(value, "<", last))
        elif len(numbers := [bound.value for bound in bounds if isinstance(bound, Const)]) == len(bounds):
            inside = algebra.member(value, tuple(numbers))
        else:
            self._again(value, node.value, frame, len(bounds))
            inside = algebra.disjunction(*(algebra.compare(value, "==", bound) for bound in bounds))
        return algebra.complement(inside) if node.negated else inside

    def _match(self, node: ast.Match, frame: Frame) -> Node | None:
        arm = self.arm(node, frame)
        return None if arm is None else self.value(arm.body, frame)

    def arm(self, node: ast.Match, frame: Frame) -> ast.Arm | None:
        """The arm that is taken."""
        value = self.constant(node.value, frame, "the integer of a `match`")
        if value is None:
            return None
        if found := overlaps(node, lambda bound: self.constant(bound, frame, "an arm's head")):
            return self.errors.extend(found)
        arms = [item.arm for item in intervals(node, lambda bound: self.constant(bound, frame, "an arm's head"))
                if item.first <= value < item.last]  # fmt: skip
        arms += [number for number, arm in enumerate(node.arms) if not arm.heads]
        if not arms:
            return self.missing.append((self.place(node.span, frame), value))
        return node.arms[arms[0]]

    def _call(self, node: ast.Call, frame: Frame) -> Node | None:
        if entry := frame.entry.scope.find(node.name):
            return self.value(entry.definition.body, self.enter(entry, node, frame))
        return built_in(self, BUILT_IN[node.name], node, frame)

    def enter(self, entry: Entry, node: ast.Call, frame: Frame) -> Frame:
        """Where the body of a called definition is read."""
        bound = bind(signature_of(entry.definition), node.arguments, node.span)
        assert not isinstance(bound, Diagnostic)  # `sorts` has reported it
        values = {name: self.integer(argument, frame) for name, argument in bound.items()}
        inner = Frame(entry, values, (*frame.calls, node.span))
        for parameter in entry.definition.parameters:
            if parameter.name not in values:
                assert parameter.default is not None  # `bind` asks for the others
                values[parameter.name] = self.integer(parameter.default, inner)
        return inner


def _join(make: Callable[..., Node], *values: Node | None) -> Node | None:
    """What `make` makes of the values, None when one of them is."""
    return None if any(value is None for value in values) else make(*values)
