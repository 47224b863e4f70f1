"""A pattern's scores as FlexAttention's score_mod: the same formulas, with torch's own operators.

Closures and no text, as masks are (`sparsec.runtime.flex`): they are traced by `torch.vmap` and `torch.compile`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from sparsec.ir import nodes as ir
from sparsec.ir.inputs import read_by_scores
from sparsec.ir.scores import Apply, Arithmetic, Choose, Extreme, Number, ReadReal, Real, Scaled, Whole, constant
from sparsec.runtime.flex import Line, Term, Terms

ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]

_Formula = Callable[[Tensor, Line, Tensor, Tensor], "Tensor | float"]
_OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


def score_mod(
    pattern: ir.Pattern,
    n: int,
    heads: int,
    device: torch.device | str = "cpu",
    q_offset: int = 0,
    given: Mapping[str, Tensor] = MappingProxyType({}),
) -> ScoreMod | None:
    """score_mod(score, b, h, q_idx, kv_idx) for n keys and so many query heads; None for a pattern without scores.

    Query q_idx stands at position q_idx + q_offset.  `given`: tensors for the inputs that scores read; gradients go
    through those of float.
    """
    entries = _entries(pattern, given)
    if not pattern.scores:
        return None
    chosen = pattern.head_conditions or (0,) * heads
    by_score: dict[Real | None, dict[int, ir.Node]] = {}
    for head, index in enumerate(chosen):
        by_score.setdefault(pattern.score(index), {})[head] = ir.TRUE
    terms = _Terms(n, torch.device(device), heads, entries, q_offset, heads)
    found = [(terms.among(own), _formula(score or Scaled(), terms)) for score, own in by_score.items()]

    def modified(score: Tensor, b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        at, q = Line(b, h), q_idx + q_offset if q_offset else q_idx
        result = found[0][1](score, at, q, kv_idx)
        for among, formula in found[1:]:
            result = _where(among(at, q, kv_idx), formula(score, at, q, kv_idx), result, score)
        return result + score * 0 if not isinstance(result, Tensor) else result

    return modified


class _Terms(Terms):
    """Integers and tests of scores."""

    def _read(self, read: ir.Read) -> Term:
        """The entry at an index, 0 where there is none."""
        entry = super()._read(read)
        if read.index is None:
            return entry
        inside = self._inside(self.data[read.name], read)
        return lambda at, q, k: torch.where(inside(at, q, k), entry(at, q, k), 0)


def _entries(pattern: ir.Pattern, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What scores read, [B or 1, H or 1, ..entries], integers as int64.  ValueError for what is missing or more."""
    wanted = {each.name: each for each in read_by_scores(pattern)}
    for name in (*wanted, *given):
        if name not in wanted or name not in given:
            what = "is missing" if name in wanted else "is none that scores of this pattern read"
            raise ValueError(f"[SP0620] the input `{name}` {what}: scores read {', '.join(wanted) or 'none'}")
    found = {}
    for name, own in wanted.items():
        x = given[name]
        if x.dim() != len(own.axes):
            raise ValueError(f"[SP0620] the input `{name}: {own}` must have {len(own.axes)} axes, got {list(x.shape)}")
        if own.kind != "float":
            x = x.long() if own.has_entries else x.long()[..., None]
        x = x if "H" in own.axes else x.unsqueeze(1 if "B" in own.axes else 0)
        found[name] = x if "B" in own.axes else x[None]
    return found


def _read(x: Tensor, indices: list[Term]) -> _Formula:
    """An entry of x [B or 1, H or 1, ..], 0 where an index is outside."""

    def real(s: Tensor, at: Line, q: Tensor, k: Tensor) -> Tensor | float:
        places, inside = [], None
        for index, length in zip(indices, x.shape[2:], strict=True):
            place = torch.as_tensor(index(at, q, k), device=x.device)
            there = (place >= 0) & (place < length)
            inside = there if inside is None else inside & there
            places.append(place.clamp(0, length - 1))
        entry = x[*at.of(x), *places]
        return (entry if inside is None else torch.where(inside, entry, 0.0)).to(s.dtype)

    return real


def _formula(node: Real, terms: Terms) -> _Formula:
    match node:
        case Scaled():
            return lambda s, at, q, k: s
        case Number() | Whole(ir.Const()) if (value := constant(node)) is not None:
            number = float(value)
            return lambda s, at, q, k: number
        case ReadReal(name, indices):
            return _read(terms.data[name], [terms.integer({0: index}) for index in indices])
        case Whole(integer):
            return _whole(terms.integer({0: integer}))
        case Arithmetic(base, "**", right):
            known, power = constant(base), _formula(right, terms)
            assert known is not None  # lowering has no others
            factor = math.log2(known)
            return lambda s, at, q, k: torch.exp2(power(s, at, q, k) * factor)
        case Arithmetic(left, op, right):
            a, b, join = _formula(left, terms), _formula(right, terms), _OPERATORS[op]
            return lambda s, at, q, k: join(a(s, at, q, k), b(s, at, q, k))
        case Apply(function, value):
            inner, apply = _formula(value, terms), getattr(torch, function)
            return lambda s, at, q, k: apply(inner(s, at, q, k))
        case Extreme(kind, left, right):
            a, b = _formula(left, terms), _formula(right, terms)
            least = kind == "min"
            return lambda s, at, q, k: _extreme(least, a(s, at, q, k), b(s, at, q, k))
        case Choose(then, test, other):
            a, b, chosen = _formula(then, terms), _formula(other, terms), terms.condition({0: test})
            return lambda s, at, q, k: _where(chosen(at, q, k), a(s, at, q, k), b(s, at, q, k), s)
    raise TypeError(f"not a score that a user can write: {node!r}")


def _whole(value: Term) -> _Formula:
    def real(s: Tensor, at: Line, q: Tensor, k: Tensor) -> Tensor | float:
        found = value(at, q, k)
        return found.to(s.dtype) if isinstance(found, Tensor) else torch.full_like(s, found)

    return real


def _extreme(least: bool, left: Tensor | float, right: Tensor | float) -> Tensor:
    """Of two, one of which at least is a tensor."""
    if not isinstance(left, Tensor):
        left, right = right, left
    assert isinstance(left, Tensor)  # two numbers are one
    if isinstance(right, Tensor):
        return torch.minimum(left, right) if least else torch.maximum(left, right)
    return left.clamp(max=right) if least else left.clamp(min=right)


def _where(test: Tensor | bool, then: Tensor | float, other: Tensor | float, s: Tensor) -> Tensor:
    a, b = (x if isinstance(x, Tensor) else torch.full_like(s, x) for x in (then, other))
    return torch.where(test, a, b) if isinstance(test, Tensor) else a if test else b
