"""The hyperbolic tangent of scores: on NVIDIA GPUs by a short polynomial where the values at hand are small, as mostly.

Caps are far above most scores: of `50 * tanh(s / 50)`, |s / 50| is hardly ever above 0.2.  There, tanh(u) is
u * P(u * u), which takes four instructions a value, and neither exponentials nor divisions, of which a processor makes
an eighth as many at a time.  Whether all are small is asked once of all values that a thread has: each question costs
a branch, over which nothing is moved.  Where 2 is raised to the power of it, that is a part of the same branch, so that
the polynomial runs beside exponentials, of which one takes eight cycles of a warp.

Beyond, tanh(u) is 1 - 2 / (exp(2 u) + 1), whose error is that of numbers near 1: at 0.2 some six units of the last
place, a third of it at 0.5.  A second polynomial there has an error of one, and was slower where scores are large: some
warps went its way and some that of exponentials, and the code of both has no room beside that of the products.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from sparsec.kernels.machine.device import tl, triton

# Minimax of tanh(u) / u in u * u, 1 at 0, up to NEAR: its relative error is 1.3e-7, a unit of the last place.
_NEAR_TANH, _NEAR_TERMS = 0.2, (-0.333296981815, 0.130380275733)
_CHAINS = 4  # of maxima
_TWICE_LOG2_E = 2.8853900817779268
_LEAST_FACTOR = 2.0**-20  # of those within and outside, and the inverse of the largest: coefficients must not overflow


def _ptx_number(value: float) -> str:
    """A float32 as PTX writes it."""
    return "0f" + struct.pack(">f", value).hex().upper()


def _ptx_tanh(values: int, power: bool) -> str:
    """PTX of `outside * tanh(inside * x)` for so many values x of a thread, or of 2 to the power of it.

    Operands: results, x, the coefficients of x * P(x * x), the size of x from which on they do not hold, and both
    factors.  A warp none of whose values is larger goes the short way.  A result takes the register of its value, and
    depends on nothing that stands beside it.
    """
    *terms, limit, inside, outside = [f"${values * argument}" for argument in range(2, len(_NEAR_TERMS) + 6)]
    lines = [".reg .f32 u, w, y, g, h, near, m0, m1, m2, m3;", ".reg .pred p;", *_ptx_largest(values)]
    lines += [f"setp.lt.f32 p, m0, {limit};", "vote.sync.all.pred p, p, -1;", "@p bra.uni NEAR;"]
    for i in range(values):
        x = f"${values + i}"
        lines += [*_ptx_far(x, inside, outside), *_ptx_near(x, "near", terms)]
        lines += [f"abs.f32 w, {x};", f"setp.lt.f32 p, w, {limit};", f"selp.f32 ${i}, near, h, p;"]
        lines += _ptx_power(i, power)
    lines += ["bra.uni DONE;", "NEAR:"]
    for i in range(values):
        lines += [*_ptx_near(f"${values + i}", f"${i}", terms), *_ptx_power(i, power)]
    return "{\n" + "\n".join([*lines, "DONE:"]) + "\n}"


def _ptx_far(x: str, inside: str, outside: str) -> list[str]:
    """h = outside * tanh(inside * x) for any x and any factors, from an exponential where that cancels little."""
    lines = [f"mul.f32 u, {x}, {inside};", "abs.f32 w, u;", f"mul.f32 g, w, {_ptx_number(_TWICE_LOG2_E)};"]
    lines += ["ex2.approx.ftz.f32 g, g;", f"add.f32 g, g, {_ptx_number(1.0)};", "rcp.approx.ftz.f32 g, g;"]
    lines += [f"fma.rn.f32 g, g, {_ptx_number(-2.0)}, {_ptx_number(1.0)};", "copysign.f32 g, u, g;"]
    first, second = map(_ptx_number, _NEAR_TERMS)
    lines += ["mul.f32 y, u, u;", f"mov.f32 h, {first};", f"fma.rn.f32 h, y, {second}, h;", "mul.f32 h, h, y;"]
    lines += ["fma.rn.f32 h, h, u, u;", f"setp.lt.f32 p, w, {_ptx_number(_NEAR_TANH)};", "selp.f32 h, h, g, p;"]
    return [*lines, f"mul.f32 h, h, {outside};"]


def _ptx_near(x: str, to: str, terms: list[str]) -> list[str]:
    """x * P(x * x)."""
    lines = [f"mul.f32 y, {x}, {x};", f"fma.rn.f32 g, {terms[-1]}, y, {terms[-2]};"]
    return [*lines, *(f"fma.rn.f32 g, g, y, {each};" for each in terms[-3::-1]), f"mul.f32 {to}, g, {x};"]


def _ptx_power(i: int, power: bool) -> list[str]:
    return [f"ex2.approx.ftz.f32 ${i}, ${i};"] if power else []


def _ptx_largest(values: int) -> list[str]:
    """m0 becomes the largest size of the values, in four chains: one would take four times as long."""
    lines = []
    for i in range(values):
        to = f"m{i % _CHAINS}"
        lines += [f"abs.f32 w, ${values + i};", f"max.f32 {to}, {to}, w;" if i >= _CHAINS else f"mov.f32 {to}, w;"]
    return lines + [f"max.f32 m0, m0, m{chain};" for chain in range(1, min(values, _CHAINS))]


class _Texts:
    """PTX by how many values of a thread it is about; Triton takes what this prints for what it is."""

    def __init__(self, text: Callable[[int], str]) -> None:
        self.text = text

    def __getitem__(self, values: int) -> str:
        return self.text(values)

    def __repr__(self) -> str:
        return self.text(_CHAINS)


_TANH = tl.constexpr(_Texts(lambda values: _ptx_tanh(values, False)))
_EXP2_TANH = tl.constexpr(_Texts(lambda values: _ptx_tanh(values, True)))
_OPERANDS = tl.constexpr(_Texts(lambda values: ",".join(["=&f"] * values + ["f"] * (len(_NEAR_TERMS) + 5) * values)))
_MOST_VALUES = tl.constexpr(64)  # of a thread that are looked at together: more are two halves
_NEAR_TOP, _NEAR_1, _NEAR_2 = map(tl.constexpr, (_NEAR_TANH, *_NEAR_TERMS))
_COMPILED = tl.constexpr(hasattr(triton, "knobs") and not triton.knobs.runtime.interpret)
_RATE_OF_TANH = tl.constexpr(_TWICE_LOG2_E)
_LEAST_OF_TANH, _MOST_OF_TANH = tl.constexpr(_LEAST_FACTOR), tl.constexpr(1 / _LEAST_FACTOR)


@triton.jit
def tanh(x, inside=1.0, outside=1.0):
    """outside * tanh(inside * x) of float32, to within some units of the last place; the factors are numbers."""
    if _COMPILED and tl.target_info.is_cuda():
        found = _ptx_of(x, tl.cast(inside, tl.float32), tl.cast(outside, tl.float32), False)
    else:
        found = outside * _tanh_of(inside * x)
    return found


@triton.jit
def exp2_tanh(x, inside, outside):
    """2 to the power of outside * tanh(inside * x), as `tanh`: on NVIDIA GPUs both are formed at a time."""
    if _COMPILED and tl.target_info.is_cuda():
        found = _ptx_of(x, tl.cast(inside, tl.float32), tl.cast(outside, tl.float32), True)
    else:
        found = tl.exp2(tanh(x, inside, outside))
    return found


@triton.jit
def _ptx_of(x, inside, outside, POWER: tl.constexpr):
    square, first = inside * inside, inside * outside
    second = first * square * _NEAR_1
    third = first * square * square * _NEAR_2
    low, high = tl.minimum(tl.abs(inside), tl.abs(outside)), tl.maximum(tl.abs(inside), tl.abs(outside))
    limit = tl.where((low > _LEAST_OF_TANH) & (high < _MOST_OF_TANH), _NEAR_TOP / tl.abs(inside), 0.0)
    VALUES: tl.constexpr = min(max(x.numel // tl.extra.cuda.num_threads(), 1), _MOST_VALUES)
    TEXT: tl.constexpr = _EXP2_TANH[VALUES] if POWER else _TANH[VALUES]
    return tl.inline_asm_elementwise(
        TEXT, _OPERANDS[VALUES], [x, first, second, third, limit, inside, outside],
        dtype=tl.float32, is_pure=True, pack=VALUES,
    )  # fmt: skip


@triton.jit
def _tanh_of(x):
    """A tile of small numbers alone goes without exponentials and divisions."""
    if len(x.shape) == 2:
        if tl.max(tl.max(tl.abs(x), 1), 0) < _NEAR_TOP:
            found = _tanh_of_small(x)
        else:
            found = _tanh_of_any(x)
    else:
        found = _tanh_of_any(x)
    return found


@triton.jit
def _tanh_of_small(x):
    z = x * x
    return x + x * ((_NEAR_2 * z + _NEAR_1) * z)


@triton.jit
def _tanh_of_any(x):
    return tl.where(tl.abs(x) < _NEAR_TOP, _tanh_of_small(x), 1.0 - 2.0 / (tl.exp2(x * _RATE_OF_TANH) + 1.0))
