"""The complexity class of a pattern in its own parameters, such as O(n*(w + g)).

A condition is a union of conjunctions; each conjunction is taken to grow like one product of powers of n and the
parameters, whose exponents show when one of them grows eightfold.  The sum of these products bounds the whole from
above; it is a class only if the count of the whole pattern stays within a constant of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf, log

from sparsec.analysis.bound import TooManyTerms, conjunctions, upper_count
from sparsec.analysis.count import affine_count, count
from sparsec.analysis.numbers import Uncounted
from sparsec.diagnostics import SparsecError
from sparsec.ir import nodes as ir
from sparsec.ir.shape import apart
from sparsec.sets import budgets
from sparsec.sets.context import Allowance, allowance

NOT_CLASSIFIED = "not classified"

_SCALES = (4, 16, 64)  # parameters are raised by one of them, so that roundings do not matter; small sets count fast
_STEP = 8
_ROOM = 64  # the longest n is that many times the largest parameter
_SPREAD = 24.0  # the most by which the count may follow the bound more closely in one place than in another
_TOLERANCE = 0.2
_TABLE_LENGTH = 4096  # at which patterns with tables are counted

Rebind = Callable[[Mapping[str, int]], ir.Pattern]
Monomial = dict[str, int]  # name -> exponent


class _Unclear(Exception):
    """The parts grow like no product of powers, or not alike at other values."""


def complexity(rebind: Rebind, parameters: Mapping[str, int]) -> str:
    """The class of a pattern; `rebind` lowers it again with other values of all its parameters.

    NOT_CLASSIFIED where the parts do not grow like products, or the count does not follow their sum.
    """
    known: dict[tuple[int, ...], ir.Pattern] = {}

    def bound(values: Mapping[str, int]) -> ir.Pattern:
        key = tuple(values[name] for name in parameters)
        if key not in known:
            known[key] = rebind(values)
        return known[key]

    with allowance(budgets.COMPLEXITY) as allowed:
        return _class(bound, parameters, allowed)


def _class(rebind: Rebind, parameters: Mapping[str, int], allowed: Allowance) -> str:
    for scale in _SCALES if parameters else (1,):
        sizes = {name: value * scale for name, value in parameters.items()}
        try:
            n = _ROOM * _STEP * max([1, *map(abs, sizes.values()), *(_written(rebind, parameters, sizes))])
            looked_at = _looked_at(rebind, parameters, sizes, n)
            mean, weights = _weights(*looked_at[0])
            terms = _undominated(_growth(rebind, sizes, n, weights))
            if terms and _alike(_samples(looked_at, mean, weights), terms):
                return f"O({_text(terms)})"
        except _Unclear:
            if allowed.cut:
                break
        except (Uncounted, SparsecError, TooManyTerms):  # larger parameters make it no easier
            break
    return NOT_CLASSIFIED


def _written(rebind: Rebind, parameters: Mapping[str, int], sizes: Mapping[str, int]) -> frozenset[int]:
    """Numbers that stay what they are when the parameters are raised: n has to be large beside them, too."""
    return frozenset.intersection(*(_numbers(rebind(values)) for values in (parameters, sizes)))


def _numbers(pattern: ir.Pattern) -> frozenset[int]:
    """Constants, and how far tables reach that are not drawn for any n."""
    found: set[int] = set()
    for node in (part for condition in pattern.conditions for part in ir.walk(condition)):
        match node:
            case ir.Const(value) | ir.FloorDiv(_, value) | ir.Mod(_, value):
                found.add(abs(value))
            case ir.Member(_, members):
                found |= {abs(members[0]), abs(members[-1])}
            case ir.Blocks(size, rows):
                found.add(size * max(len(rows), *(1 + row[-1] for row in rows if row), 0))
            case ir.RandomBlocks(size, count):
                found.add(size * count)
            case ir.RandomKeys(count):
                found.add(count)
    return frozenset(found)


def _growth(rebind: Rebind, sizes: Mapping[str, int], n: int, heads: Iterable[int]) -> list[Monomial]:
    """The product that each conjunction of the conditions of these heads grows like."""
    before = _counts(rebind(sizes), n, heads)
    found: list[Monomial] = [{} for _ in before]
    for name, value in {"n": n, **sizes}.items():
        length, values = (n * _STEP, sizes) if name == "n" else (n, {**sizes, name: value * _STEP})
        after = _counts(rebind(values), length, heads) if value else before
        if len(after) != len(before):
            raise _Unclear
        for place, counts in enumerate(zip(before, after, strict=True)):
            if exponent := _exponent(*counts):
                found[place][name] = exponent
    return [exponents for exponents, value in zip(found, before, strict=True) if value]


def _counts(pattern: ir.Pattern, n: int, heads: Iterable[int]) -> list[int]:
    """Upper bounds of the conjunctions of these heads, in a fixed order."""
    return [upper_count(term, n) for head in heads for term in conjunctions(_condition(pattern, head))]


def _condition(pattern: ir.Pattern, head: int) -> ir.Set:
    return pattern.conditions[pattern.head_conditions[head] if pattern.head_conditions else 0]


def _exponent(before: int, after: int) -> int:
    if not before or not after:
        if before != after:
            raise _Unclear
        return 0
    exact = (log(after) - log(before)) / log(_STEP)
    if abs(exact - round(exact)) > _TOLERANCE:
        raise _Unclear
    return round(exact)


def _looked_at(
    rebind: Rebind, parameters: Mapping[str, int], sizes: Mapping[str, int], n: int
) -> list[tuple[Mapping[str, int], ir.Pattern]]:
    """Values of n and the parameters, and the pattern with these.

    Where a pattern has one part only, all are counted already but for the first.
    """
    first = rebind(parameters)
    if any(ir.leaves(condition) for condition in first.conditions):
        return [({**parameters, "n": times * _TABLE_LENGTH}, first) for times in (1, 4)]
    grown = ({**sizes, name: value * _STEP} for name, value in sizes.items())
    raised = (({**values, "n": n}, rebind(values)) for values in (sizes, *grown))
    return [({**parameters, "n": n}, first), ({**sizes, "n": n * _STEP}, rebind(sizes)), *raised]


def _samples(
    looked_at: list[tuple[Mapping[str, int], ir.Pattern]], mean: float, weights: Mapping[int, float]
) -> Iterator[tuple[Mapping[str, int], float]]:
    """(values of n and the parameters, the pairs of one head in the mean there), given the mean of the first."""
    (values, _), *others = looked_at
    yield values, mean
    for values, pattern in others:
        yield values, sum(weight * _pairs(_condition(pattern, head), values["n"]) for head, weight in weights.items())


def _weights(values: Mapping[str, int], pattern: ir.Pattern) -> tuple[float, dict[int, float]]:
    """The pairs of one head in the mean; heads to look at elsewhere, and their shares of the mean.

    Heads whose conditions differ in numbers alone grow alike: the one with most pairs stands for all of them.
    """
    heads = pattern.head_conditions or (0,)
    alike: dict[ir.Set, list[int]] = {}
    for head, index in enumerate(heads):
        alike.setdefault(apart(pattern.conditions[index])[0], []).append(head)
    total, weights = 0, {}
    known = {index: _pairs(pattern.conditions[index], values["n"]) for index in set(heads)}
    for some in alike.values():
        pairs = sum(known[heads[head]] for head in some)
        most = max(some, key=lambda head: known[heads[head]])
        weights[most] = pairs / max(1, known[heads[most]]) / len(heads)
        total += pairs
    return total / len(heads), weights


def _pairs(condition: ir.Set, n: int) -> int:
    return count(condition, n) if ir.leaves(condition) else affine_count(condition, n)


def _alike(samples: Iterator[tuple[Mapping[str, int], float]], terms: list[Monomial]) -> bool:
    """Whether the pairs are about as many times the bound everywhere; how many, numbers of the text decide."""
    least, most = inf, 0.0
    for values, pairs in samples:
        times = pairs / sum(_value(term, values) for term in terms)
        least, most = min(least, times), max(most, times)
        if most > _SPREAD * least:
            return False
    return most > 0


def _value(term: Monomial, values: Mapping[str, int]) -> float:
    result = 1.0
    for name, exponent in term.items():
        result *= float(abs(values[name])) ** exponent
    return result


# ---------------------------------------------------------------- text


def _undominated(terms: list[Monomial]) -> list[Monomial]:
    """Without repeats and without terms that another one covers, in the order of the pattern."""
    distinct = [term for place, term in enumerate(terms) if term not in terms[:place]]
    return [term for term in distinct if not any(_covers(other, term) for other in distinct if other is not term)]


def _covers(larger: Monomial, smaller: Monomial) -> bool:
    """larger / smaller >= 1 for all 1 <= parameters <= n."""
    ratio = {name: larger.get(name, 0) - smaller.get(name, 0) for name in {*larger, *smaller}}
    spare = ratio.pop("n", 0)
    return spare + sum(exponent for exponent in ratio.values() if exponent < 0) >= 0


def _text(terms: list[Monomial]) -> str:
    if len(terms) == 1:
        return _product(terms[0])
    names = list(dict.fromkeys(name for term in terms for name in ("n", *term)))
    common = {name: max(0, min(term.get(name, 0) for term in terms)) for name in names}
    rest = [{name: term.get(name, 0) - common[name] for name in names} for term in terms]
    total, front = " + ".join(map(_product, rest)), _product(common)
    return total if front == "1" else f"{front}*({total})"


def _product(term: Monomial) -> str:
    above = "*".join(_power(name, exponent) for name, exponent in term.items() if exponent > 0) or "1"
    below = [_power(name, -exponent) for name, exponent in term.items() if exponent < 0]
    return "/".join([above, *below])


def _power(name: str, exponent: int) -> str:
    return name if exponent == 1 else f"{name}^{exponent}"
