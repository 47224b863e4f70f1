"""The hyperbolic tangent of scores: on NVIDIA GPUs by short polynomials where the values at hand are small, as mostly.

Caps are far above most scores: of `50 * tanh(s / 50)`, |s / 50| is hardly ever above 0.2.  There, tanh(u) is
u * P(u * u), which takes four instructions a value, and neither exponentials nor divisions, of which a processor makes
an eighth as many at a time.  Whether all are small is asked once of all values that a thread has: each question costs
a branch, over which nothing is moved.  Where 2 is raised to the power of it, that is a part of the same branch, so that
polynomials run beside exponentials, of which one takes eight cycles of a warp.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from sparsec.kernels.machine.device import tl, triton

# Minimax of tanh(u) / u in u * u, 1 at 0: up to NEAR with a relative error of 1.3e-7, a unit of the last place, and up
# to FAR with 6.5e-8.  Beyond that, 1 - 2 / (exp(2 u) + 1) cancels little.
_NEAR_TANH, _NEAR_TERMS = 0.2, (-0.333296981815, 0.130380275733)
_FAR_TANH, _FAR_TERMS = 0.8, (-0.333328669818, 0.133227661213, -0.0531763322364, 0.0191907992058, -0.00441091004851)
_CHAINS = 4  # of maxima
_LEAST_FACTOR = 2.0**-20  # of those within and outside, and the inverse of the largest: coefficients must not overflow


def _ptx_number(value: float) -> str:
    """A float32 as PTX writes it."""
    return "0f" + struct.pack(">f", value).hex().upper()


def _ptx_tanh(values: int, power: bool) -> str:
    """PTX of `outside * tanh(inside * x)` for so many values x of a thread, or of 2 to the power of it.

    Operands: results, x, the coefficients of x * P(x * x), the size of x from which on they do not hold, and both
    factors.  A warp none of whose values is larger goes the short way; one none of whose values is beyond the other
    polynomial goes without exponentials.  A result takes the register of its value, and depends on nothing that stands
    beside it.
    """
    *terms, limit, inside, outside = [f"${values * argument}" for argument in range(2, len(_NEAR_TERMS) + 6)]
    lines = [".reg .f32 u, w, y, z, g, h, near, m0, m1, m2, m3;", ".reg .pred p;", *_ptx_largest(values)]
    lines += [f"setp.lt.f32 p, m0, {limit};", "vote.sync.all.pred p, p, -1;", "@p bra.uni NEAR;"]
    lines += [f"mul.f32 u, m0, {inside};", "abs.f32 u, u;", f"setp.lt.f32 p, u, {_ptx_number(_FAR_TANH)};"]
    lines += ["vote.sync.all.pred p, p, -1;", "@!p bra.uni ANY;"]
    for label, more in ("", []), ("ANY:", _PTX_EXPONENTIAL):
        lines.append(label)
        for i in range(values):
            x = f"${values + i}"
            lines += [f"mul.f32 u, {x}, {inside};", "mul.f32 z, u, u;"]
            lines.append(f"mov.f32 h, {_ptx_number(_FAR_TERMS[-1])};")
            lines += [f"fma.rn.f32 h, h, z, {_ptx_number(term)};" for term in _FAR_TERMS[-2::-1]]
            lines += ["mul.f32 h, h, z;", "fma.rn.f32 h, h, u, u;", *more, f"mul.f32 h, h, {outside};"]
            lines += [*_ptx_near(x, "near", terms), f"abs.f32 w, {x};", f"setp.lt.f32 p, w, {limit};"]
            lines += [f"selp.f32 ${i}, near, h, p;", *_ptx_power(i, power)]
        lines.append("bra.uni DONE;")
    lines.append("NEAR:")
    for i in range(values):
        lines += [*_ptx_near(f"${values + i}", f"${i}", terms), *_ptx_power(i, power)]
    return "{\n" + "\n".join([*lines, "DONE:"]) + "\n}"


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


# From u, and h where |u| is below FAR.
_PTX_EXPONENTIAL = [
    "abs.f32 w, u;",
    f"mul.f32 g, w, {_ptx_number(2.8853900817779268)};",
    "ex2.approx.ftz.f32 g, g;",
    f"add.f32 g, g, {_ptx_number(1.0)};",
    "rcp.approx.ftz.f32 g, g;",
    f"fma.rn.f32 g, g, {_ptx_number(-2.0)}, {_ptx_number(1.0)};",
    "copysign.f32 g, u, g;",
    f"setp.lt.f32 p, w, {_ptx_number(_FAR_TANH)};",
    "selp.f32 h, h, g, p;",
]


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
_FAR_FROM, _FAR_1, _FAR_2, _FAR_3, _FAR_4, _FAR_5 = map(tl.constexpr, (_FAR_TANH, *_FAR_TERMS))
_COMPILED = tl.constexpr(hasattr(triton, "knobs") and not triton.knobs.runtime.interpret)
_TWICE_LOG2_E = tl.constexpr(2.8853900817779268)
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
        if tl.max(tl.max(tl.abs(x), 1), 0) < _FAR_FROM:
            found = _tanh_of_small(x)
        else:
            found = _tanh_of_any(x)
    else:
        found = _tanh_of_any(x)
    return found


@triton.jit
def _tanh_of_small(x):
    z = x * x
    p = (((_FAR_5 * z + _FAR_4) * z + _FAR_3) * z + _FAR_2) * z
    return x + x * ((p + _FAR_1) * z)


@triton.jit
def _tanh_of_any(x):
    return tl.where(tl.abs(x) < _FAR_FROM, _tanh_of_small(x), 1.0 - 2.0 / (tl.exp2(x * _TWICE_LOG2_E) + 1.0))
