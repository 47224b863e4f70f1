"""Masks of a pattern that reads data of a call, from arrays: checked as declared, evaluated by the reference."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np

from sparsec.diagnostics import CannotRead, SparsecError, WrongInput
from sparsec.ir import nodes as ir
from sparsec.ir import reference
from sparsec.ir.inputs import Input, of_row, refuse_inputs


def mask(pattern: ir.Pattern, n_q: int, n_k: int, q_offset: int | None, given: Mapping[str, object]) -> np.ndarray:
    """Bool [n_q, n_k]; before them H where heads differ, by the pattern or by an input, and before it B likewise.

    `given` holds arrays or tensors by input.  SparsecError SP0620, SP0621.
    """
    arrays, sizes = checked(pattern, given, n_k)
    by_row, by_head = "B" in sizes, "H" in sizes or pattern.heads is not None
    rows, heads = range(sizes.get("B", 1)), range(pattern.heads or sizes.get("H", 1))
    chosen = pattern.head_conditions or (0,) * len(heads)
    found = [
        reference.mask(pattern.conditions[chosen[h]], n_q, n_k, q_offset, of_row(pattern.inputs, arrays, b, h))
        for b, h in product(rows, heads)
    ]
    shape = [len(rows)] * by_row + [len(heads)] * by_head
    return np.stack(found).reshape(*shape, n_q, n_k) if found else np.zeros((*shape, n_q, n_k), bool)


def checked(
    pattern: ir.Pattern, given: Mapping[str, object], n: int | None
) -> tuple[dict[str, np.ndarray], Mapping[str, int]]:
    """The arrays of all inputs, and how many rows and heads they have; SparsecError where they don't fit.

    `n`: the number of keys, None where no input is along them.
    """
    for name in given:
        if name not in [each.name for each in pattern.inputs]:
            raise SparsecError(WrongInput(name=name, expected="an input of the pattern", found="none"))
    if any(each.name not in given for each in pattern.inputs):
        refuse_inputs(pattern, "a mask", "give them by keyword, as in a call")
    sizes = {axis: size for axis, size in (("n", n), ("H", pattern.heads)) if size is not None}
    arrays = {each.name: _array(each, given[each.name], sizes) for each in pattern.inputs}
    return arrays, {axis: size for axis, size in sizes.items() if axis in "BH"}


def spread(own: Input, array: np.ndarray) -> np.ndarray:
    """An input with all three axes, int64 [B or 1, H or 1, entries or 1]."""
    array = np.asarray(array, np.int64)
    array = array if own.has_entries else array[..., None]
    array = array if "H" in own.axes else np.expand_dims(array, -2)
    return array if "B" in own.axes else array[None]


def loaded(value: int | str) -> np.ndarray:
    """A number, or the array of a .npy file.  SparsecError SP0701."""
    if isinstance(value, int):
        return np.asarray(value)
    reason = "no array of numpy"
    try:
        return np.asarray(np.load(value, allow_pickle=False))
    except OSError as error:
        reason = (error.strerror or reason).lower()
    except (ValueError, EOFError):
        pass
    raise SparsecError(CannotRead(name=value, reason=reason))


def _array(own: Input, some: object, sizes: dict[str, int]) -> np.ndarray:
    """The array of an input; axes that are met for the first time say how many rows or heads there are."""
    array = np.asarray(some.cpu() if hasattr(some, "cpu") else some)
    kind = "bool" if array.dtype == bool else "int" if array.dtype.kind == "i" else str(array.dtype)
    expected, found = f"{own}, as declared in line {own.line}", f"{kind}{list(array.shape)}"
    if kind != own.kind or array.ndim != len(own.axes):
        raise SparsecError(WrongInput(name=own.name, expected=expected, found=found))
    for axis, size in zip(own.axes, array.shape, strict=True):
        if axis in ("B", "H", "n") and sizes.setdefault(axis, size) != size:
            expected = f"{expected}, with {axis} = {sizes[axis]}"
            raise SparsecError(WrongInput(name=own.name, expected=expected, found=found))
    return array
