"""Triton's interpreter, without work that changes no result: types are made once, scalars are not spread over a tile.

Each operation of the interpreter builds types, unwraps shapes and copies operands to the shape of the result, which
takes many times as long as NumPy takes for the small tiles of tests.  What stands here gives the same values and types;
tests/interpreter/test_quick_interpreter.py compares it with Triton's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

import numpy as np
import pytest
import triton.language as tl
from triton.language import core
from triton.language.semantic import TritonSemantic
from triton.runtime import interpreter

SEMANTIC = interpreter.interpreter_semantic


def install(patches: pytest.MonkeyPatch) -> None:
    operands = _Operands()
    _language(patches, operands)
    _types(patches)
    _operands(patches, operands)
    # Checks of overflow are computed, and never read: assertions are for debugging.
    options = interpreter.InterpreterOptions(sanitize_overflow=False)
    patches.setattr(interpreter.interpreter_builder, "options", options)


def _language(patches: pytest.MonkeyPatch, operands: _Operands) -> None:
    """The interpreter looks through the whole language for what to patch, at every call of a device function, too."""
    patch = interpreter._patch_lang

    @cache
    def languages(fn: Callable) -> tuple:
        return tuple(each for each in (tl, core) if any(each is value for value in fn.__globals__.values()))

    def once(fn: Callable) -> Any:
        if all(not core.is_builtin(each.load) for each in languages(fn)):
            return interpreter._LangPatchScope()
        scope = patch(fn)
        _operators(scope, operands)
        return scope

    def attribute(obj: Any, name: str, member: Callable, builder: Any, scope: Any) -> None:
        function = getattr(member, "__wrapped__", member)  # without the check that `_semantic` is given

        def call(*args: Any, **kwargs: Any) -> Any:
            kwargs["_semantic"] = SEMANTIC
            return function(*args, **kwargs)

        scope.set_attr(obj, name, call)

    patches.setattr(interpreter, "_patch_lang", once)
    patches.setattr(interpreter, "_patch_attr", attribute)


class _Shape:
    """A shape, as types and as tensors hold it."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.of_type = core.tuple(sizes)
        self.of_tensor = core.tuple([core.constexpr(size) for size in sizes])
        self.numel = core.validate_block_shape(self.of_type)


def _types(patches: pytest.MonkeyPatch) -> None:
    shape_of = cache(_Shape)
    scalar = (core.tuple([]), core.constexpr(1))
    unwrap = core._unwrap_if_constexpr

    def block_type(self: tl.block_type, element_ty: tl.dtype, shape: Any) -> None:
        sizes = tuple([size.value if type(size) is core.constexpr else size for size in shape])
        if not sizes:
            raise TypeError("0d block_type is forbidden")
        known = shape_of(sizes)
        self.element_ty = element_ty
        self.shape = known.of_type
        self.numel = known.numel
        self.known = known

    def name(self: tl.block_type) -> str:
        return f"<{self.shape}, {self.element_ty}>"

    def same_block(self: tl.block_type, other: Any) -> bool:
        return isinstance(other, tl.block_type) and self.shape is other.shape and self.element_ty == other.element_ty

    same = tl.dtype.__eq__

    def same_type(self: tl.dtype, other: Any) -> bool:
        return self is other or same(self, other)

    def tensor(self: tl.tensor, handle: Any, type: tl.dtype) -> None:
        self.handle = handle
        self.type = type
        if isinstance(type, tl.block_type):
            self.shape, self.numel = type.known.of_tensor, core.constexpr(type.numel)
            self.dtype = type.element_ty
        else:
            self.shape, self.numel = scalar
            self.dtype = type.scalar

    def unwrapped(value: Any) -> Any:
        return value if type(value) is tl.tensor else unwrap(value)

    slow = interpreter._get_np_dtype
    numpy_types = cache(slow)

    def numpy_type(of: tl.dtype) -> Any:
        """It builds a table each time; types of pointers cannot be hashed."""
        return numpy_types(of.scalar) if type(of.scalar) is tl.dtype else slow(of)

    late = cached_property(name)
    late.__set_name__(tl.block_type, "name")
    patches.setattr(tl.block_type, "__init__", block_type)
    patches.setattr(tl.block_type, "name", late, raising=False)
    patches.setattr(tl.block_type, "__eq__", same_block)
    patches.setattr(tl.dtype, "__eq__", same_type)
    patches.setattr(tl.tensor, "__init__", tensor)
    patches.setattr(core, "_unwrap_if_constexpr", unwrapped)
    patches.setattr(interpreter, "_get_np_dtype", numpy_type)


class _Operands:
    """Operands of the same type need no look at what they become, and NumPy broadcasts while it computes."""

    def __init__(self) -> None:
        self.broadcast: dict[tuple[int, int], core.tuple] = {}  # by identity: shapes are made once
        self.numbers: dict[tuple[int, str], tl.tensor] = {}

    def plain(self, lhs: Any, rhs: Any) -> tuple[tl.tensor, tl.tensor] | None:
        """Both as tensors of one type that stays what it is in each operation, or None."""
        if type(lhs) is not tl.tensor:
            lhs = self.number(lhs, rhs.dtype) if type(rhs) is tl.tensor else None
        elif type(rhs) is not tl.tensor:
            rhs = self.number(rhs, lhs.dtype)
        if lhs is None or rhs is None:
            return None
        of, other = lhs.dtype, rhs.dtype
        if of is other:
            kept = of is tl.int32 or of is tl.float32 or of is tl.int64 or of is tl.int1
            return (lhs, rhs) if kept else None
        if of is tl.int32 and other is tl.int64:
            return self.widened(lhs), rhs
        if of is tl.int64 and other is tl.int32:
            return lhs, self.widened(rhs)
        return None

    def number(self, value: Any, dtype: tl.dtype) -> tl.tensor | None:
        """A number as an operand beside one of this type, if it does not change that type."""
        if type(value) is core.constexpr:
            value = value.value
        if type(value) is int:
            if dtype is tl.float32 or ((dtype is tl.int32 or dtype is tl.int64) and -(2**31) <= value < 2**31):
                key = value, dtype.name
                if key not in self.numbers:
                    self.numbers[key] = SEMANTIC.scalar_constant(value, dtype)
                return self.numbers[key]
        elif type(value) is float and dtype is tl.float32:
            return SEMANTIC.scalar_constant(value, dtype)
        return None

    def type_of(self, lhs: tl.tensor, rhs: tl.tensor) -> tl.dtype:
        """The type of a result with the numbers of lhs."""
        left, right = lhs.type, rhs.type
        if not isinstance(right, tl.block_type):
            return left
        if not isinstance(left, tl.block_type):
            return tl.block_type(left, right.shape)
        if left.shape is right.shape:
            return left
        key = id(left.shape), id(right.shape)
        if key not in self.broadcast:
            self.broadcast[key] = SEMANTIC.broadcast_impl_value(lhs, rhs)[0].type.shape
        shape = self.broadcast[key]
        return left if left.shape is shape else tl.block_type(lhs.dtype, shape)

    def joined(self, lhs: tl.tensor, rhs: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
        """Both with the shape of the result, their values as they are."""
        return self.typed(lhs, self.type_of(lhs, rhs)), self.typed(rhs, self.type_of(rhs, lhs))

    @staticmethod
    def widened(value: tl.tensor) -> tl.tensor:
        type = tl.block_type(tl.int64, value.type.shape) if isinstance(value.type, tl.block_type) else tl.int64
        return tl.tensor(_handle(value.handle.data.astype(np.int64), tl.int64), type)

    @staticmethod
    def is_address(lhs: Any, rhs: Any) -> bool:
        """Whether this is a pointer and how far to move it."""
        if type(lhs) is not tl.tensor or type(rhs) is not tl.tensor or type(lhs.dtype) is not tl.pointer_type:
            return False
        return rhs.dtype is tl.int32 or rhs.dtype is tl.int64

    @staticmethod
    def typed(value: tl.tensor, type: tl.dtype) -> tl.tensor:
        return value if type is value.type else tl.tensor(value.handle, type)


def _operands(patches: pytest.MonkeyPatch, operands: _Operands) -> None:
    slow = TritonSemantic.binary_op_type_checking_impl
    slow_cast = TritonSemantic.cast

    def check(self: TritonSemantic, lhs: Any, rhs: Any, allow_lhs_ptr: bool = False, *more: Any, **options: Any):
        if pair := operands.plain(lhs, rhs):
            return operands.joined(*pair)
        if allow_lhs_ptr and operands.is_address(lhs, rhs):
            return operands.joined(lhs, rhs)
        return slow(self, lhs, rhs, allow_lhs_ptr, *more, **options)

    def cast(self: TritonSemantic, input: tl.tensor, dst_ty: tl.dtype, fp_downcast_rounding: str | None = None):
        return input if input.dtype is dst_ty else slow_cast(self, input, dst_ty, fp_downcast_rounding)

    patches.setattr(TritonSemantic, "binary_op_type_checking_impl", check)
    patches.setattr(TritonSemantic, "cast", cast)


COMPARISONS = {
    "__lt__": np.less,
    "__le__": np.less_equal,
    "__gt__": np.greater,
    "__ge__": np.greater_equal,
    "__eq__": np.equal,
    "__ne__": np.not_equal,
}
ARITHMETIC = {"__add__": np.add, "__sub__": np.subtract, "__mul__": np.multiply}
BITS = {"__and__": np.bitwise_and, "__or__": np.bitwise_or}


def _operators(scope: Any, operands: _Operands) -> None:
    """The operators of tensors, without the ten calls between one and NumPy."""

    def replace(name: str, compute: Callable, types: tuple[tl.dtype, ...], result: tl.dtype | None, swapped: bool):
        slow = getattr(tl.tensor, name)

        def call(self: tl.tensor, other: Any, **options: Any) -> tl.tensor:
            pair = operands.plain(self, other)
            if pair is None or not any(pair[0].dtype is each for each in types):
                return slow(self, other, **options)
            lhs, rhs = pair[::-1] if swapped else pair
            type = operands.type_of(lhs, rhs)
            if result is not None:
                type = type.with_element_ty(result) if isinstance(type, tl.block_type) else result
            return tl.tensor(_handle(compute(lhs.handle.data, rhs.handle.data), lhs.handle.dtype.scalar), type)

        scope.set_attr(tl.tensor, name, call)

    numbers = (tl.int32, tl.float32, tl.int64)
    for name, compute in COMPARISONS.items():
        replace(name, compute, numbers, tl.int1, False)
    for name, compute in ARITHMETIC.items():
        replace(name, compute, numbers, None, False)
        replace(name.replace("__", "__r", 1), compute, numbers, None, True)
    for name, compute in BITS.items():
        replace(name, compute, (tl.int32, tl.int1), None, False)


def _handle(data: np.ndarray, dtype: tl.dtype) -> interpreter.TensorHandle:
    """Without the check that the data has the size of the type."""
    handle = object.__new__(interpreter.TensorHandle)
    handle.data, handle.dtype, handle.attr = data, dtype, {}
    return handle
