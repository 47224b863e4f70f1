"""Real numbers of a traced score_mod: torch's functions by name, and what each is in the language.

Active while a score_mod is traced; a mask_mod has none of these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from sparsec.importers import expressions as ex
from sparsec.importers.refusal import refusal
from sparsec.importers.values import Condition, Integer, Square
from sparsec.syntax import ast

_HAS = "scores have + - * / abs min max clamp tanh exp exp2 log sqrt sigmoid, `where`, and powers of positive numbers"
_ORDER = "conditions of a score are about positions and the head; of scores take `minimum`, `maximum` or `abs`"
_INTEGERS = (  # whose results are integers where their arguments are
    *("mul", "multiply", "square", "pow", "where", "minimum", "maximum", "add", "sub", "subtract", "rsub", "clamp"),
    *("clip", "abs", "absolute", "neg", "negative", "pos", "positive", "clone", "to", "type", "type_as"),
)


@dataclass(frozen=True)
class RealValue:
    """A real number for each pair."""

    value: ast.Expr


_scoring: ContextVar[bool] = ContextVar("scoring", default=False)


@contextmanager
def scoring() -> Iterator[None]:
    """While a score_mod is traced."""
    token = _scoring.set(True)
    try:
        yield
    finally:
        _scoring.reset(token)


def is_scoring() -> bool:
    return _scoring.get()


def is_real(name: str, given: Sequence[object]) -> bool:
    """Whether a function of these arguments is about real numbers: for its own sake, or for that of one of them."""
    alone = name in _FUNCTIONS and name not in _INTEGERS
    return is_scoring() and name != "getitem" and (alone or any(map(_is_real, given)))


def product_of_integers(name: str) -> bool:
    """Whether a function that has no integer for a result may have a real number."""
    return is_scoring() and name in _INTEGERS


def known() -> Sequence[str]:
    """Names of methods."""
    return [*_FUNCTIONS] if is_scoring() else []


def apply(name: str, given: Sequence[object], named: Mapping[str, object]) -> RealValue:
    """What torch's function of this name makes of them."""
    function = _FUNCTIONS.get(name)
    if function is None:
        hint = _ORDER if name in ("lt", "le", "gt", "ge", "eq", "ne") else _HAS
        raise refusal(f"`{name}` of a score", hint)
    try:
        return RealValue(function(*given, **named))
    except TypeError:  # an argument that only torch's own function has
        raise refusal(f"`{name}` with these arguments", _HAS) from None


def as_real(value: Any) -> ast.Expr:
    """A value, or a number from outside, as a real number of the language."""
    match value:
        case RealValue(node):
            return node
        case Square(root):
            return _binary("*")(root, root)
        case Condition(bool() as truth):
            return ex.node(int(truth))
        case Condition(test):
            return ast.Choice(_number(1.0), ex.condition(test), _number(0.0), span=ex.NOWHERE)
        case Integer(cases):
            *guarded, (_, last) = cases
            found = ex.node(last)
            for test, case in reversed(guarded):
                found = ast.Choice(ex.node(case), ex.condition(test), found, span=ex.NOWHERE)
            return found
        case bool() | int():
            return ex.node(int(value))
    if getattr(value, "shape", ()):
        raise refusal(f"a {type(value).__name__} of several entries", "look up one of them: `table[h, q - k]`")
    try:
        return _number(float(value))
    except (TypeError, ValueError):
        raise refusal(f"a {type(value).__name__} as a score", _HAS) from None


def _number(value: float) -> ast.Expr:
    if not math.isfinite(value):
        raise refusal(f"the number {value}", "which pairs are kept is a mask_mod's to say: `mask_mod=`")
    number = ast.Real(abs(value), span=ex.NOWHERE)
    return number if value >= 0 else ast.Unary("-", number, span=ex.NOWHERE)


def _is_real(value: object) -> bool:
    if isinstance(value, RealValue | float):
        return True
    dtype = getattr(value, "dtype", None)
    return dtype is not None and "float" in str(dtype) and not getattr(value, "shape", None)


# ---------------------------------------------------------------- functions


def _binary(op: str) -> Callable[[Any, Any], ast.Expr]:
    def joined(input: Any, other: Any) -> ast.Expr:
        return ast.Binary(op, as_real(input), as_real(other), span=ex.NOWHERE)

    return joined


def _call(name: str) -> Callable[..., ast.Expr]:
    return lambda input: ex.call(name, as_real(input))


def _same(input: Any, *types: object, **how: object) -> ast.Expr:
    return as_real(input)


def _negative(input: Any) -> ast.Expr:
    return ast.Unary("-", as_real(input), span=ex.NOWHERE)


def _least(input: Any, other: Any) -> ast.Expr:
    return ex.call("min", as_real(input), as_real(other))


def _most(input: Any, other: Any) -> ast.Expr:
    return ex.call("max", as_real(input), as_real(other))


def _clamp(input: Any, min: Any = None, max: Any = None) -> ast.Expr:
    found = as_real(input) if min is None else _most(input, min)
    return found if max is None else _least(RealValue(found), max)


def _where(condition: Any, input: Any, other: Any) -> ast.Expr:
    if not isinstance(condition, Condition):
        raise refusal("`where` by a score", _ORDER)
    if isinstance(condition.value, bool):
        return as_real(input if condition.value else other)
    return ast.Choice(as_real(input), condition.value, as_real(other), span=ex.NOWHERE)


def _power(input: Any, exponent: Any) -> ast.Expr:
    number = _constant(exponent)
    if number in (2, 3):
        square = _binary("*")(input, input)
        return square if number == 2 else _binary("*")(RealValue(square), input)
    if number == 0.5:
        return ex.call("sqrt", as_real(input))
    base = _constant(input)
    if base is None or base <= 0:
        raise refusal("a power of a score", "powers are squares, cubes, roots, and those of positive numbers")
    return _binary("**")(input, exponent)


def _constant(value: Any) -> float | None:
    """A number that depends on nothing."""
    match value:
        case Integer(((True, int() as number),)):
            return number
        case Integer() | RealValue() | Condition() | Square():
            return None
    return float(value)


def _divided(input: Any, other: Any, rounding_mode: str | None = None) -> ast.Expr:
    if rounding_mode is not None:
        raise refusal(f"a division that is rounded by {rounding_mode}", "`/` of real numbers, `//` of integers")
    return _binary("/")(input, other)


def _sigmoid(input: Any) -> ast.Expr:
    grown = ast.Binary("+", ex.node(1), ex.call("exp", _negative(input)), span=ex.NOWHERE)
    return ast.Binary("/", ex.node(1), grown, span=ex.NOWHERE)


_FUNCTIONS: dict[str, Callable[..., ast.Expr]] = {
    "add": _binary("+"),
    "sub": _binary("-"),
    "subtract": _binary("-"),
    "rsub": lambda input, other: _binary("-")(other, input),
    "mul": _binary("*"),
    "multiply": _binary("*"),
    "square": lambda input: _binary("*")(input, input),
    **dict.fromkeys(("truediv", "true_divide", "div", "divide"), _divided),
    "pow": _power,
    "exp2": lambda input: _binary("**")(2, input),
    **{name: _call(name) for name in ("tanh", "exp", "log", "sqrt")},
    **dict.fromkeys(("abs", "absolute"), _call("abs")),
    **dict.fromkeys(("neg", "negative"), _negative),
    **dict.fromkeys(("pos", "positive", "clone", "float", "double", "half", "bfloat16"), _same),
    **dict.fromkeys(("to", "type", "type_as"), _same),
    "minimum": _least,
    "maximum": _most,
    "clamp": _clamp,
    "clip": _clamp,
    "where": _where,
    "sigmoid": _sigmoid,
}
