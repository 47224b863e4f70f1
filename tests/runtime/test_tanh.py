"""The PTX of tanh, carried out here: warps of float32 values, branches as a warp takes them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsec.kernels.tiles import tanh as module

LANES = 32
COUNT = 8
FACTORS = [(1.0, 1.0), (0.02, 72.13475204444817), (0.0883883476 / 30, 43.28), (-3.0, 0.5), (2.0**19, 2.0**-19)]


def tangents(x: np.ndarray, inside: float, outside: float, power: bool = False) -> np.ndarray:
    """What a warp makes of float32 [values, lanes], by the text that kernels hold; `power`: 2 to the power of it."""
    a, b, one = (np.float32(each) for each in (inside, outside, 1))
    square, first = a * a, a * b
    near, least, count = np.float32(module._NEAR_TANH), module._LEAST_FACTOR, len(x)
    known = all(least < abs(each) < 1 / least for each in (a, b))
    terms = [first, first * square * np.float32(module._NEAR_TERMS[0])]
    terms.append(first * square * square * np.float32(module._NEAR_TERMS[1]))
    given = [*terms, near / abs(a) if known else 0 * one, a, b]
    places = {f"${count + i}": x[i] for i in range(count)}
    for argument, value in enumerate(given):
        places |= {f"${count * (2 + argument) + i}": np.full(LANES, value, np.float32) for i in range(count)}
    _carry_out(module._ptx_tanh(count, power), places)
    return np.stack([places[f"${i}"] for i in range(count)])


def _carry_out(text: str, places: dict[str, np.ndarray]) -> None:
    lines = [line for line in text.splitlines() if line not in ("", "{", "}") and not line.startswith(".reg")]
    labels = {line[:-1]: at for at, line in enumerate(lines) if line.endswith(":")}
    at = 0
    while at < len(lines):
        line, at = lines[at], at + 1
        if line.endswith(":"):
            continue
        guard, name, operands = re.fullmatch(r"(@!?\w+ )?([\w.]+) (.*);", line).groups()
        first, *others = operands.split(", ")
        if name == "bra.uni":
            taken = guard is None or _same(places[guard.strip("@! ")]) != ("!" in guard)
            at = labels[first] if taken else at
            continue
        assert guard is None
        places[first] = _OPERATIONS[name](*(_value(each, places) for each in others))


def _value(text: str, places: dict[str, np.ndarray]) -> np.ndarray:
    if text.startswith("0f"):
        return np.full(LANES, np.frombuffer(bytes.fromhex(text[2:]), ">f4").astype(np.float32)[0])
    return places[text] if text in places else int(text)


def _same(x: np.ndarray) -> bool:
    """Of a branch that a whole warp takes."""
    assert x.all() or not x.any()
    return bool(x.all())


def _rounded(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32)


def _fma(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return _rounded(x.astype(np.float64) * y + z)


_OPERATIONS = {
    "mul.f32": lambda x, y: x * y,
    "add.f32": lambda x, y: x + y,
    "mov.f32": lambda x: x,
    "abs.f32": np.abs,
    "max.f32": np.fmax,
    "fma.rn.f32": _fma,
    "ex2.approx.ftz.f32": lambda x: _rounded(np.exp2(x.astype(np.float64))),
    "rcp.approx.ftz.f32": lambda x: _rounded(1 / x.astype(np.float64)),
    "copysign.f32": lambda sign, x: np.copysign(x, sign),
    "setp.lt.f32": lambda x, y: x < y,
    "selp.f32": lambda x, y, test: np.where(test, x, y),
    "vote.sync.all.pred": lambda x, _: np.full(LANES, x.all()),
}


@pytest.mark.parametrize(("inside", "outside"), [*FACTORS, (2.0**-30, 3.0), (7.0, 2.0**30)])
@pytest.mark.parametrize("top", [1e-6, 0.1, 0.2, 0.4, 0.8, 2, 20])
def test_errors_are_a_few_roundings(top: float, inside: float, outside: float) -> None:
    """In each part alone, and on either side of where one ends: beyond, roundings of numbers below 1."""
    u = np.random.default_rng(0).uniform(-top, top, (COUNT, LANES))
    u[0, :4] = np.array([0.2, -0.2] * 2) * (1 + np.array([-1, -1, 1, 1]) * 2**-22)
    u[0, :4] = np.where(np.abs(u[0, :4]) <= 1.01 * top, u[0, :4], 0)
    x = (u / inside).astype(np.float32)
    with np.errstate(all="ignore"):
        found = tangents(x, inside, outside)
    wanted = np.tanh(x.astype(np.float64) * np.float32(inside)) * np.float32(outside)
    far = np.abs(x * np.float32(inside)) >= np.float32(0.2)
    assert (np.abs(found - wanted) <= np.where(far, 2e-7 * abs(outside), 5e-7 * np.abs(wanted))).all()


@pytest.mark.parametrize("values", [1, 2, 3, 32, 64])
@pytest.mark.parametrize("top", [0.1, 0.5, 3.0])
def test_any_number_of_values_and_powers_of_them(values: int, top: float) -> None:
    """Where the result is an exponent, too; the last of the values is the largest, and looked at like all others."""
    x = np.random.default_rng(values).uniform(-0.1, 0.1, (values, LANES)).astype(np.float32)
    x[-1, -1] = top
    x = (x / np.float32(0.02)).astype(np.float32)
    found, powers = tangents(x, 0.02, 72.0), tangents(x, 0.02, 72.0, power=True)
    wanted = np.tanh(x.astype(np.float64) * np.float32(0.02)) * 72
    assert (np.abs(found - wanted) <= np.maximum(2e-7 * 72 * (np.abs(wanted) > 14), 5e-7 * np.abs(wanted))).all()
    assert np.array_equal(powers, np.exp2(found.astype(np.float64)).astype(np.float32))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(FACTORS), st.sampled_from([0.1, 0.3, 2.0, float("inf")]))
def test_a_value_depends_on_nothing_beside_it(seed: int, factors: tuple[float, float], other: float) -> None:
    """So a document has the same results alone and beside others."""
    random = np.random.default_rng(seed)
    x = (random.normal(size=(COUNT, LANES)) * 0.05 / factors[0]).astype(np.float32)
    beside = x.copy()
    beside[random.integers(COUNT), random.integers(LANES)] = other / factors[0]
    with np.errstate(all="ignore"):
        alone, found = tangents(x, *factors), tangents(beside, *factors)
    assert np.array_equal(alone[beside == x], found[beside == x])


@pytest.mark.parametrize("factors", [(1.0, 1.0), (0.0, 2.0), (2.0, 0.0), (np.inf, 1.0), (0.5, np.nan)])
def test_what_is_not_finite_is_as_numpy_has_it(factors: tuple[float, float]) -> None:
    x = np.zeros((COUNT, LANES), np.float32)
    x[0, :8] = [np.inf, -np.inf, np.nan, 0.0, -0.0, 3e38, -1e30, 1e-42]
    inside, outside = (np.float32(each) for each in factors)
    with np.errstate(all="ignore"):
        found, wanted = tangents(x, *factors), np.tanh(x * inside) * outside
    np.testing.assert_allclose(found, wanted, rtol=5e-7)
