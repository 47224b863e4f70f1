"""Device functions of the Hopper tier: what a softmax does only where the maximum of a row grows.

That happens in the first steps of a tile and in few others.  Branches of the language are those of a group of warps,
which would have to wait for each other to agree; this one is PTX, and each warp takes its own.
"""

from __future__ import annotations

from sparsec.kernels.machine.device import triton
from sparsec.kernels.machine.gluon import gl, gluon


@gluon.jit
def rescaled(acc, alpha):
    """Sums of values times a factor for each row, which is mostly 1."""
    COUNT: gl.constexpr = acc.shape[1] // 2  # of a thread: two rows, in turns of two columns
    return gl.inline_asm_elementwise(
        _ptx_rescale(COUNT), _ptx_operands(COUNT), [acc, alpha[:, None]], dtype=gl.float32, is_pure=True, pack=COUNT
    )  # fmt: skip


@triton.constexpr_function
def _ptx_rescale(values):
    """PTX of `rescaled`: nothing in warps whose factors are all 1.

    Operands: results, which are the sums, and factors, those of the two rows again and again.
    """
    first, second = f"${2 * values}", f"${2 * values + 2}"
    lines = [".reg .pred p;", f"setp.neu.f32 p, {first}, 0f3F800000;", f"setp.neu.or.f32 p, {second}, 0f3F800000, p;"]
    lines += ["vote.sync.any.pred p, p, -1;", "@!p bra.uni DONE;"]
    lines += [f"mul.f32 ${i}, ${i}, {first if i % 4 < 2 else second};" for i in range(values)]
    return "{\n" + "\n".join([*lines, "DONE:"]) + "\n}"


@triton.constexpr_function
def _ptx_operands(values):
    """So many results of a thread, in the registers of what they are made from, and as many factors."""
    return ",".join(["=f"] * values + [str(i) for i in range(values)] + ["f"] * values)
