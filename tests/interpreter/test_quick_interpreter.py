"""tests/support/quick_interpreter.py against Triton's interpreter as it is: the same values and types."""

from __future__ import annotations

import operator

import numpy as np
import pytest
import triton.language as tl
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from support import quick_interpreter
from triton.runtime import interpreter

OPERATORS = [
    *(operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod, operator.truediv),
    *(operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne),
    *(operator.and_, operator.or_, operator.xor, tl.minimum, tl.maximum),
]
TYPES = [tl.int1, tl.int8, tl.int32, tl.uint32, tl.int64, tl.float16, tl.float32]
SHAPES = [(), (1,), (4,), (1, 4), (4, 1), (2, 4)]
NUMBERS = [0, 1, 3, -2, 2**31 - 1, -(2**31), 2**31, 2**40, True, 0.5, -0.0, 1e-40, float("inf"), float("nan")]

TENSORS = st.tuples(st.sampled_from(TYPES), st.sampled_from(SHAPES), st.integers(0, 2**16))
OPERANDS = TENSORS | st.sampled_from(NUMBERS) | st.sampled_from(NUMBERS).map(tl.constexpr)


def tensor(dtype: tl.dtype, shape: tuple[int, ...], seed: int) -> tl.tensor:
    values = np.random.default_rng(seed).integers(1, 2 if dtype is tl.int1 else 100, shape or (1,))
    handle = interpreter.TensorHandle(values.astype(interpreter._get_np_dtype(dtype)), dtype)
    return tl.tensor(handle, tl.block_type(dtype, list(shape)) if shape else dtype)


def result(operation, operands: list) -> tuple:
    """What comes out: its type, shape and bytes; or the error."""
    scope = interpreter._patch_lang(result_of_a_kernel)
    try:
        values = [tensor(*each) if isinstance(each, tuple) else each for each in operands]
        found = operation(*values)
        shape = [size.value for size in found.shape]
        data = np.broadcast_to(found.handle.data, shape or (1,))
        return str(found.type), str(found.dtype), found.numel.value, str(data.dtype), data.shape, data.tobytes()
    except Exception as error:  # of whatever kind: what is refused is compared, too
        return type(error).__name__, str(error)
    finally:
        scope.restore()


def result_of_a_kernel() -> None:
    """Stands for a kernel: the interpreter patches the language that it finds in its globals."""
    tl.program_id(0)


@given(st.sampled_from(OPERATORS), OPERANDS, OPERANDS)
@example(operator.add, (tl.int32, (4, 1), 0), (tl.int64, (1, 4), 1))
@example(operator.mul, 3, (tl.float32, (2, 4), 0))
@settings(max_examples=300)
def test_same_as_triton(quick_patches: pytest.MonkeyPatch, operation, lhs, rhs) -> None:
    assume(isinstance(lhs, tuple) or isinstance(rhs, tuple))
    quick = result(operation, [lhs, rhs])
    quick_patches.undo()
    try:
        assert quick == result(operation, [lhs, rhs])
    finally:
        quick_interpreter.install(quick_patches)
