"""What device functions of all files stand on: Triton where it is there, constants, integer arithmetic.

Names here and in the kernels.  q, k: absolute positions.  q_lo..q_hi, k_lo..k_hi: the first and the last of a tile,
ends included.  row: a query's index in Q, q - q_offset.  bh: the index of a (batch, head) pair in a contiguous tensor.
m_i, l_i, acc: running maximum (base 2), sum and output of the softmax (Milakov & Gimelshein, 2018; FlashAttention,
Dao et al., 2022).  X_b, X_h, X_m, X_n: strides of batch, head and row in units of 8 elements, which keeps every load
16 bytes wide whatever the length; r_b, ..: those of the result, which is out, dq or dk;
dv_b, ..: those of dv.
"""

from __future__ import annotations

from typing import Any, NamedTuple

try:
    import triton
    import triton.language as tl
    from triton.tools.tensor_descriptor import TensorDescriptor
except ImportError:  # torch alone is enough on a CPU: the kernels then stay uncompiled
    from types import SimpleNamespace

    triton = SimpleNamespace(  # type: ignore[assignment]
        jit=lambda f=None, **_: f or (lambda g: g), constexpr_function=lambda f: f
    )
    tl = SimpleNamespace(constexpr=lambda x: x)  # type: ignore[assignment]
    TensorDescriptor = None  # type: ignore[assignment,misc]

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)
LOG2_E_FLOAT: float = getattr(LOG2_E, "value", LOG2_E)

# Kernels are not specialised on lengths and strides, or a new length would compile them again.
RUN_TIME = ["q_b", "q_h", "q_m", "k_b", "k_h", "k_n", "v_b", "v_h", "v_n", "g_b", "g_h", "g_m"]
RUN_TIME += ["o_b", "o_h", "o_m", "r_b", "r_h", "r_m", "dv_b", "dv_h", "dv_m"]
RUN_TIME += ["heads", "n_q", "n_rows", "n_class_rows", "n", "q_offset", "batches", "split_tiles", "splits"]
RUN_TIME += ["batch_lines", "head_lines", "room", "sinks_b", "drop_below"]


def kernel_name(specialization: Any) -> str:
    """The name under which a kernel appears in profiles: that of its place in the module, forward_ab."""
    return specialization.constants["NAME"]


class Sizes(NamedTuple):
    """Constants of a kernel that hold for all its regions."""

    GROUP: Any  # query heads that share a key head
    HEAD_DIM: Any
    BLOCK_M: Any
    BLOCK_N: Any
    BLOCK_D: Any
    V_DIM: Any  # of values, results and their gradients; HEAD_DIM and BLOCK_D are those of q and k
    BLOCK_V: Any
    STRIDE: Any  # of residue classes; 1: there are none
    PRECISION: Any
    TMA: Any  # what a loop goes over comes through descriptors
    OWN_TMA: Any  # what a program loads once does
    SPLIT: Any  # several programs may split the steps of a tile
    PACKED: Any  # programs work on tiles of several sequences
    ROWS_OF_QUERY: Any = None  # heads that stand side by side in Q (`sparsec.kernels.passes.heads_as_rows`)


@triton.jit
def floor_mod(x, divisor):
    """x % divisor in [0, divisor); the processor's remainder has the sign of x."""
    r = x % divisor
    return tl.where(r < 0, r + divisor, r)


@triton.jit
def floor_div(x, divisor):
    """x // divisor rounded down; the processor's division rounds towards zero."""
    return (x - floor_mod(x, divisor)) // divisor


@triton.jit
def to_int32(x):
    """A 64-bit bound as 32 bits; beyond the longest sequence one bound is as good as another."""
    return tl.minimum(tl.maximum(x, -(1 << 30)), 1 << 30).to(tl.int32)
