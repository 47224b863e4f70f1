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

    Of lists of chosen blocks for fewer heads than there are, as many heads as they have, where nothing says how many.
    `given` holds arrays or tensors by input.  SparsecError SP0620, SP0621.
    """
    offset = n_k - n_q if q_offset is None else q_offset
    found = rows_of_mask(pattern, np.arange(n_q) + offset, n_k, n_q, offset, given)
    sizes = checked(pattern, given, n_k, n_q)[1]
    by_row, by_head = "B" in sizes, "H" in sizes or pattern.heads is not None
    return found.reshape(found.shape[:1] * by_row + found.shape[1:2] * by_head + (n_q, n_k))


def rows_of_mask(
    pattern: ir.Pattern, positions: np.ndarray, n_k: int, n_q: int, offset: int, given: Mapping[str, object]
) -> np.ndarray:
    """Bool [B or 1, H or 1, positions, n_k]: the mask of some rows of a call of n_q queries, the first at `offset`.

    1 where neither the pattern nor an input differs by it.  SparsecError SP0620, SP0621.
    """
    arrays, sizes = checked(pattern, given, n_k, n_q)
    rows, heads = range(sizes.get("B", 1)), range(pattern.heads or sizes.get("H", 1))
    chosen = pattern.head_conditions or (0,) * len(heads)

    def one(b: int, h: int) -> np.ndarray:
        data = of_row(pattern.inputs, arrays, b, h, len(heads))
        return reference.evaluate(pattern.conditions[chosen[h]], positions, np.arange(n_k), n_k, data, offset)

    found = [one(b, h) for b, h in product(rows, heads)]
    shape = len(rows), len(heads), len(positions), n_k
    return np.stack(found).reshape(shape) if found else np.zeros(shape, bool)


def checked(
    pattern: ir.Pattern,
    given: Mapping[str, object],
    n: int | None,
    n_q: int | None = None,
    what: str = "a mask",
    hint: str = "give them by keyword, as in a call",
) -> tuple[dict[str, np.ndarray], Mapping[str, int]]:
    """The arrays of all inputs, and how many rows and heads they have; SparsecError where they don't fit.

    `n`: the number of keys, None where no input is along them; `n_q`: that of queries, None where nobody knows.
    `what` can't be had without all of them; `hint`: how they are given.
    """
    for name in given:
        if name not in [each.name for each in (*pattern.inputs, *pattern.choice_inputs)]:
            raise SparsecError(WrongInput(name=name, expected="an input of the pattern", found="none"))
    sizes = {axis: size for axis, size in (("n", n), ("H", pattern.heads)) if size is not None}
    arrays = {each.name: _array(each, given[each.name], sizes, n_q) for each in pattern.inputs if each.name in given}
    refuse_inputs(pattern, what, hint, arrays)
    groups = {each.name: arrays[each.name].shape[1] for each in pattern.inputs if each.is_chosen}
    heads = sizes.get("H") or max(groups.values(), default=1)
    for each in pattern.inputs:
        if each.is_chosen and heads % groups[each.name]:
            found = f"for {groups[each.name]}"
            raise SparsecError(
                WrongInput(name=each.name, expected=f"lists for 1 head or a divisor of {heads}", found=found)
            )
    if heads > 1:
        sizes["H"] = heads
    return arrays, {axis: size for axis, size in sizes.items() if axis in "BH"}


def spread(own: Input, array: np.ndarray) -> np.ndarray:
    """An input with all three axes, int64 [B or 1, H or 1, entries or 1]; what is chosen with its own four."""
    array = np.asarray(array, np.int64)
    if own.by_row:
        return array
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


def _array(own: Input, some: object, sizes: dict[str, int], n_q: int | None) -> np.ndarray:
    """The array of an input; axes that are met for the first time say how many rows or heads there are."""
    array = np.asarray(some.cpu() if hasattr(some, "cpu") else some)
    kind = "bool" if array.dtype == bool else "int" if array.dtype.kind == "i" else str(array.dtype)
    expected, found = f"{own}, as declared in line {own.line}", f"{kind}{list(array.shape)}"
    if kind != ("int" if own.by_row else own.kind) or array.ndim != len(own.axes):
        if own.is_chosen:
            expected = f"int[B, heads, queries or blocks of them, listed] for {expected}"
        elif own.by_row:
            expected = "int[B, H, lines, n_q + n]"
        raise SparsecError(WrongInput(name=own.name, expected=expected, found=found))
    if own.is_chosen:
        sizes = {"B": sizes.setdefault("B", array.shape[0])}
        sizes |= {"rows": -(-n_q // own.sizes[0])} if n_q is not None else {}
        sizes |= {own.axes[-1]: int(own.axes[-1])} if own.axes[-1].isdigit() else {}
    elif own.by_row and n_q is not None and "n" in sizes and array.shape[3] != n_q + sizes["n"]:
        expected = f"labels of {n_q} queries and {sizes['n']} keys"
        raise SparsecError(WrongInput(name=own.name, expected=expected, found=found))
    for axis, size in zip(own.axes, array.shape, strict=True):
        if (axis in sizes or axis in ("B", "H", "n")) and sizes.setdefault(axis, size) != size:
            expected = f"{expected}, with {axis} = {sizes[axis]}"
            raise SparsecError(WrongInput(name=own.name, expected=expected, found=found))
    return array
