"""The derivative of a score by s, found by SymPy and written as a score again.

Extremes and absolute values are pieces (`Piecewise`) there, and so are choices, whose conditions do not depend on s and
are symbols.  Of equal pieces the first is taken: at a kink the derivative is that from one side.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, reduce
from typing import Any, Literal, cast

from sparsec.ir import scores
from sparsec.ir.nodes import Abs, Add, Const, Int, Mul, Set, Sub, Var
from sparsec.ir.scores import Apply, Arithmetic, Choose, Extreme, Number, Piece, ReadReal, Real, Scaled, Whole

_S = Scaled()
Order = Literal["<", "<="]

_WORTH_SIMPLIFYING = 60  # operations: larger ones take SymPy seconds


@lru_cache(maxsize=256)
def gradient(score: Real, by: Scaled | ReadReal = _S) -> Real:
    """d score / d s, or by an entry of a float input."""
    if _moves_along(score, by):
        return Whole(Const(1))  # as SymPy says, which takes a second to be loaded
    import sympy

    reader = _Reader(sympy)
    found = sympy.diff(reader.real(score), reader.real(by))
    candidates = [found]
    if found.count_ops() <= _WORTH_SIMPLIFYING and not found.has(sympy.Piecewise):
        # SymPy's `simplify` finds nothing shorter that scores can say, and takes fifty times as long.
        candidates.append(sympy.factor_terms(sympy.together(found)))
    return min((_Writer(sympy, reader).real(each) for each in candidates), key=scores.operations)


def _moves_along(score: Real, by: Real) -> bool:
    """Whether a score is s, or the entry, and what does not depend on it is added or taken off."""
    match score:
        case Arithmetic(left, "+", right) if by not in scores.parts(left):
            return _moves_along(right, by)
        case Arithmetic(left, "+" | "-", right):
            return by not in scores.parts(right) and _moves_along(left, by)
    return score == by


def difference_is_zero(a: Real, b: Real) -> bool:
    """Whether SymPy finds two scores equal; False where it does not."""
    import sympy

    reader = _Reader(sympy, expand=True)
    found = reader.real(a) - reader.real(b)
    return found == 0 or (found.count_ops() <= _WORTH_SIMPLIFYING and sympy.simplify(found) == 0)


class _Reader:
    """Scores -> SymPy."""

    def __init__(self, sympy: Any, expand: bool = False) -> None:
        """`expand`: integers are written out, which nothing reads back, and are no symbols."""
        self.sympy, self.expand = sympy, expand
        self.s = sympy.Symbol("s", real=True)
        self.integers: dict[Int, Any] = {}
        self.entries: dict[ReadReal, Any] = {}
        self.tests: dict[Set, Any] = {}
        self.orders: dict[tuple[Real, Order, Real], Any] = {}
        self.read: dict[Real, Any] = {}

    def real(self, node: Real) -> Any:
        if node not in self.read:
            self.read[node] = self._real(node)
        return self.read[node]

    def _real(self, node: Real) -> Any:
        sympy = self.sympy
        match node:
            case Scaled():
                return self.s
            case ReadReal():
                return self.entries.setdefault(node, sympy.Symbol(f"e{len(self.entries)}", real=True))
            case Number(value):
                return sympy.Rational(repr(value))
            case Whole(Const(value)):
                return sympy.Integer(value)
            case Whole(value) if self.expand:
                return self._integer(value)
            case Whole(value):
                return self.integers.setdefault(value, sympy.Symbol(f"i{len(self.integers)}", real=True))
            case Arithmetic(left, op, right):
                a, b = self.real(left), self.real(right)
                made: dict[str, Callable[[], Any]] = {
                    "+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b, "**": lambda: a**b,
                }  # fmt: skip
                return made[op]()
            case Apply("abs", value):
                x = self.real(value)
                return sympy.Piecewise((-x, self._order(value, "<", scores.number(0))), (x, True))
            case Apply(function, value):
                return getattr(sympy, function)(self.real(value))
            case Extreme(kind, left, right):
                order = self._order(left, "<=", right) if kind == "min" else self._order(right, "<=", left)
                return sympy.Piecewise((self.real(left), order), (self.real(right), True))
            case Choose(then, test, other):
                symbol = self.tests.setdefault(test, sympy.Symbol(f"t{len(self.tests)}"))
                return sympy.Piecewise((self.real(then), symbol), (self.real(other), True))
        raise TypeError(f"not a score that a user can write: {node!r}")

    def _order(self, left: Real, op: Order, right: Real) -> Any:
        """left op right; a symbol where a side has pieces: SymPy folds these into the test, and forgets their own."""
        a, b = self.real(left), self.real(right)
        if a.has(self.sympy.Piecewise) or b.has(self.sympy.Piecewise):
            return self.orders.setdefault((left, op, right), self.sympy.Symbol(f"o{len(self.orders)}"))
        return a < b if op == "<" else a <= b

    def _integer(self, node: Int) -> Any:
        match node:
            case Const(value):
                return self.sympy.Integer(value)
            case Var(name):
                return self.sympy.Symbol(name, integer=True)
            case Abs(value):
                return self.sympy.Abs(self._integer(value))
            case Add(left, right):
                return self._integer(left) + self._integer(right)
            case Sub(left, right):
                return self._integer(left) - self._integer(right)
            case Mul(left, right):
                return self._integer(left) * self._integer(right)
        return self.integers.setdefault(node, self.sympy.Symbol(f"i{len(self.integers)}", integer=True))


class _Writer:
    """SymPy -> scores."""

    def __init__(self, sympy: Any, reader: _Reader) -> None:
        self.sympy = sympy
        self.numbers: dict[Any, Real] = {symbol: Whole(node) for node, symbol in reader.integers.items()}
        self.numbers |= {symbol: node for node, symbol in reader.entries.items()} | {reader.s: Scaled()}
        self.tests = {symbol: node for node, symbol in reader.tests.items()}
        self.orders = {symbol: order for order, symbol in reader.orders.items()}
        self.written: dict[Any, Real] = {}

    def real(self, x: Any) -> Real:
        if x not in self.written:
            self.written[x] = self._real(x)
        return self.written[x]

    def _real(self, x: Any) -> Real:
        sympy = self.sympy
        match x:
            case sympy.Symbol():
                return self.numbers[x]
            case sympy.Integer():
                return scores.number(int(x))
            case sympy.Number() | sympy.NumberSymbol():
                return scores.number(float(x))
            case sympy.Add():
                return self._sum(x)
            case sympy.Mul():
                return self._product(x)
            case sympy.Pow():
                return self._power(x)
            case sympy.Piecewise():
                return self._pieces(x)
            case sympy.exp() | sympy.log() | sympy.tanh():
                return scores.apply(cast(scores.Function, type(x).__name__), self.real(x.args[0]))
        raise TypeError(f"not in scores: {x!r}")

    def _sum(self, x: Any) -> Real:
        terms = sorted(x.as_ordered_terms(), key=lambda term: term.could_extract_minus_sign())
        first, *rest = terms
        found = self.real(first)
        for term in rest:
            negative = term.could_extract_minus_sign()
            found = scores.arithmetic(found, "-" if negative else "+", self.real(-term if negative else term))
        return found

    def _product(self, x: Any) -> Real:
        sympy = self.sympy
        if x.could_extract_minus_sign():
            return scores.arithmetic(scores.number(0), "-", self.real(-x))
        above, below = sympy.fraction(x)
        if below != 1:
            return scores.arithmetic(self.real(above), "/", self.real(below))
        factors = [self.real(each) for each in x.as_ordered_factors()]
        return reduce(lambda a, b: scores.arithmetic(a, "*", b), factors)

    def _power(self, x: Any) -> Real:
        sympy = self.sympy
        base, exponent = x.as_base_exp()
        if exponent.is_negative:
            return scores.arithmetic(scores.number(1), "/", self.real(base**-exponent))
        if exponent == sympy.Rational(1, 2):
            return scores.apply("sqrt", self.real(base))
        if exponent.is_Integer:
            return self._repeated(self.real(base), int(exponent))
        if exponent.is_Rational:  # x ** (3 / 2) = sqrt(x) ** 3
            root = scores.apply("sqrt", self.real(base))
            return self._repeated(root, int(2 * exponent))
        return scores.arithmetic(self.real(base), "**", self.real(exponent))

    def _repeated(self, base: Real, exponent: int) -> Real:
        """base ** exponent by squares."""
        if exponent == 1:
            return base
        half = self._repeated(base, exponent // 2)
        square = scores.arithmetic(half, "*", half)
        return scores.arithmetic(square, "*", base) if exponent % 2 else square

    def _pieces(self, x: Any) -> Real:
        found = self.real(x.args[-1][0])
        for value, test in reversed(x.args[:-1]):
            found = self._piece(self.real(value), test, found)
        return found

    def _piece(self, then: Real, test: Any, other: Real) -> Real:
        sympy = self.sympy
        if then == other:
            return then
        match test:
            case sympy.Symbol() if test in self.orders:
                return Piece(*self.orders[test], then, other)
            case sympy.Symbol():
                return Choose(then, self.tests[test], other)
            case sympy.Not():
                return self._piece(other, test.args[0], then)
            case sympy.And():
                return reduce(lambda found, each: self._piece(found, each, other), test.args, then)
            case sympy.Or():
                return reduce(lambda found, each: self._piece(then, each, found), test.args, other)
            case sympy.ITE():
                first, second, third = test.args
                return self._piece(self._piece(then, second, other), first, self._piece(then, third, other))
            case sympy.Equality():
                return self._piece(then, sympy.And(test.lhs <= test.rhs, test.rhs <= test.lhs), other)
            case sympy.Unequality():
                return self._piece(other, sympy.Eq(test.lhs, test.rhs), then)
            case sympy.StrictLessThan() | sympy.LessThan():
                strict = isinstance(test, sympy.StrictLessThan)
                return Piece(self.real(test.lhs), "<" if strict else "<=", self.real(test.rhs), then, other)
            case sympy.StrictGreaterThan() | sympy.GreaterThan():
                strict = isinstance(test, sympy.StrictGreaterThan)
                return Piece(self.real(test.rhs), "<" if strict else "<=", self.real(test.lhs), then, other)
        if test == sympy.true:
            return then
        if test == sympy.false:
            return other
        raise TypeError(f"not in scores: {test!r}")
