"""The hyperbolic tangent of scores: on NVIDIA GPUs by short polynomials where the values at hand are small, as mostly.

Caps are far above most scores: of `50 * tanh(s / 50)`, |s / 50| is hardly ever above 0.2.  There, tanh(u) is
u * P(u * u), which takes five instructions a value, and neither exponentials nor divisions, of which a processor makes
an eighth as many at a time.
"""

from __future__ import annotations

import struct

from sparsec.kernels.device import tl, triton

# Minimax of tanh(u) / u in u * u, 1 at 0: up to NEAR with a relative error of 1.3e-7, a unit of the last place, and up
# to FAR with 6.5e-8.  Beyond that, 1 - 2 / (exp(2 u) + 1) cancels little.
_NEAR_TANH, _NEAR_TERMS = 0.2, (-0.333296981815, 0.130380275733)
_FAR_TANH, _FAR_TERMS = 0.8, (-0.333328669818, 0.133227661213, -0.0531763322364, 0.0191907992058, -0.00441091004851)
_VALUES = 8  # values of a thread that are looked at together: each look costs a branch, and holds their registers
_LEAST_FACTOR = 2.0**-20  # of those within and outside, and the inverse of the largest: coefficients must not overflow


def _ptx_number(value: float) -> str:
    """A float32 as PTX writes it."""
    return "0f" + struct.pack(">f", value).hex().upper()


def _ptx_tanh() -> str:
    """PTX of `outside * tanh(inside * x)` for some values x.

    Operands: results, x, the coefficients of x * P(x * x), the square of x from which on they do not hold, and both
    factors.  A warp none of whose values is larger is done then; one none of whose values is beyond the other
    polynomial goes without exponentials.  A value's result depends on nothing that stands beside it.
    """
    x, *terms, limit, inside, outside = (
        [f"${_VALUES * (1 + argument) + i}" for i in range(_VALUES)] for argument in range(len(_NEAR_TERMS) + 5)
    )
    lines = [".reg .f32 u, w, y, z, g, h, most;", ".reg .pred p;"]
    for i in range(_VALUES):
        lines.append(f"mul.f32 y, {x[i]}, {x[i]};")
        lines.append("max.NaN.f32 most, most, y;" if i else "mov.f32 most, y;")
        lines.append(f"fma.rn.f32 ${i}, {terms[-1][i]}, y, {terms[-2][i]};")
        lines += [f"fma.rn.f32 ${i}, ${i}, y, {each[i]};" for each in terms[-3::-1]]
        lines.append(f"mul.f32 ${i}, ${i}, {x[i]};")
    lines += [f"setp.lt.f32 p, most, {limit[0]};", "vote.sync.all.pred p, p, -1;", "@p bra.uni DONE;"]
    lines += [f"mul.f32 most, most, {inside[0]};"] * 2
    lines += [
        f"setp.lt.f32 p, most, {_ptx_number(_FAR_TANH * _FAR_TANH)};",
        "vote.sync.all.pred p, p, -1;",
        "@!p bra.uni ANY;",
    ]
    for step, more in ("", []), ("ANY:", _PTX_EXPONENTIAL):
        lines.append(step)
        for i in range(_VALUES):
            lines += [f"mul.f32 u, {x[i]}, {inside[i]};", "mul.f32 z, u, u;"]
            lines.append(f"mov.f32 h, {_ptx_number(_FAR_TERMS[-1])};")
            lines += [f"fma.rn.f32 h, h, z, {_ptx_number(term)};" for term in _FAR_TERMS[-2::-1]]
            lines += ["mul.f32 h, h, z;", "fma.rn.f32 h, h, u, u;", *more, f"mul.f32 h, h, {outside[i]};"]
            lines += [f"mul.f32 y, {x[i]}, {x[i]};", f"setp.lt.f32 p, y, {limit[i]};", f"selp.f32 ${i}, ${i}, h, p;"]
        lines += [] if more else ["bra.uni DONE;"]
    return "{\n" + "\n".join([*lines, "DONE:"]) + "\n}"


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
_PTX_TANH = tl.constexpr(_ptx_tanh())
_TANH_OPERANDS = tl.constexpr(",".join(["=&f"] * _VALUES + ["f"] * (len(_NEAR_TERMS) + 5) * _VALUES))
_TANH_PACK = tl.constexpr(_VALUES)
_NEAR_SQUARE, _NEAR_1, _NEAR_2 = map(tl.constexpr, (_NEAR_TANH * _NEAR_TANH, *_NEAR_TERMS))
_FAR_FROM, _FAR_1, _FAR_2, _FAR_3, _FAR_4, _FAR_5 = map(tl.constexpr, (_FAR_TANH, *_FAR_TERMS))
_COMPILED = tl.constexpr(hasattr(triton, "knobs") and not triton.knobs.runtime.interpret)
_TWICE_LOG2_E = tl.constexpr(2.8853900817779268)
_LEAST_OF_TANH, _MOST_OF_TANH = tl.constexpr(_LEAST_FACTOR), tl.constexpr(1 / _LEAST_FACTOR)


@triton.jit
def tanh(x, inside=1.0, outside=1.0):
    """outside * tanh(inside * x) of float32, to within some units of the last place; the factors are numbers."""
    if _COMPILED and tl.target_info.is_cuda():
        inside, outside = tl.cast(inside, tl.float32), tl.cast(outside, tl.float32)
        square, first = inside * inside, inside * outside
        second = first * square * _NEAR_1
        third = first * square * square * _NEAR_2
        low, high = tl.minimum(tl.abs(inside), tl.abs(outside)), tl.maximum(tl.abs(inside), tl.abs(outside))
        limit = tl.where((low > _LEAST_OF_TANH) & (high < _MOST_OF_TANH), _NEAR_SQUARE / square, 0.0)
        found = tl.inline_asm_elementwise(
            _PTX_TANH, _TANH_OPERANDS, [x, first, second, third, limit, inside, outside],
            dtype=tl.float32, is_pure=True, pack=_TANH_PACK,
        )  # fmt: skip
    else:
        found = outside * _tanh_of(inside * x)
    return found


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
