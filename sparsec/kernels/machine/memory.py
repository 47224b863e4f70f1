"""How tensors lie in memory: what kernels can read, and results as in FlashAttention and torch's own attention.

out and dq lie like q, dk and dv like k, whatever the head size of v: so `out.transpose(1, 2).flatten(2)` copies nothing
where q is a transposed [B, n, H, D].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

FAR = 1 << 23  # elements from row to row: below it, kernels count those of a tile in 32 bits


def dense_strides(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a dense [B, H, n, D] whose first three dimensions lie in the order of `strides`; D is innermost.

    The usual order for expanded tensors, which have none, and where rows would be FAR apart.  Not all of `shape` and
    `strides` need be known numbers.
    """
    outer = [0, 1, 2]
    if not any(isinstance(stride, int) and stride == 0 for stride in strides[:3]):
        for last in (1, 2):
            for i in range(last, 0, -1):
                if _less(strides[outer[i - 1]], strides[outer[i]]):
                    outer[i - 1], outer[i] = outer[i], outer[i - 1]
    dense = _packed(shape, (*outer, 3))
    return dense if outer == [0, 1, 2] or _less(dense[2], FAR) else _packed(shape, (0, 1, 2, 3))


def empty_as(x: Tensor, columns: int | None = None) -> Tensor:
    """Room for a tensor of the shape of x [B, H, n, D], or with `columns` in the place of D, which lies like x."""
    shape = x.shape if columns is None else (*x.shape[:3], columns)
    return x.new_empty_strided(shape, dense_strides(shape, x.stride()))


def lying_as(x: Tensor, like: Tensor) -> Tensor:
    """x, or a copy of it that lies as results for `like` do; only their head sizes may differ."""
    wanted = dense_strides(x.shape, like.stride())
    return x if x.stride() == wanted else x.new_empty_strided(x.shape, wanted).copy_(x)


def of_one_size(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v [.., D] with columns of zeros where v has others than these: torch's products take one head size."""
    size = max(q.shape[-1], v.shape[-1])
    return widened(q, size), widened(k, size), widened(v, size)


def widened(x: Tensor, size: int) -> Tensor:
    """x [.., D] with `size` columns, those behind its own zeros."""
    return x if x.shape[-1] == size else torch.nn.functional.pad(x, (0, size - x.shape[-1]))


def in_pieces(x: Tensor) -> Tensor:
    """x [.., D] in pieces of 16 bytes, for copies to another order; x itself where its rows do not consist of them."""
    width = 16 // x.dtype.itemsize
    whole = x.stride(-1) == 1 and not any(y % width for y in (*x.stride()[:-1], x.shape[-1], x.storage_offset()))
    return x.view(torch.complex128) if whole and x.data_ptr() % 16 == 0 else x


def as_readable(x: Tensor) -> Tensor:
    """x, or a copy of it: strides are passed in units of 8 elements, and a tile's own offsets fit 32 bits."""
    b, h, m, d = x.stride()
    fits = d == 1 and not (b | h | m) % 8 and m < FAR and x.data_ptr() % 16 == 0
    return x if fits else empty_as(x).copy_(x)


def as_contiguous(x: Tensor) -> Tensor:
    """x, or a copy of it, contiguous and from a multiple of 16 bytes on, as kernels are compiled for."""
    return x if x.is_contiguous() and x.data_ptr() % 16 == 0 else x.clone(memory_format=torch.contiguous_format)


def _packed(shape: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...]:
    """Strides without gaps, for dimensions from the outermost to the innermost."""
    strides, step = [1] * len(order), 1
    for dim in reversed(order):
        strides[dim] = step
        step = step * shape[dim]
    return tuple(strides)


def _less(a: Any, b: Any) -> bool:
    """a < b; False where that depends on numbers which are unknown while a program is traced."""
    if isinstance(a, int) and isinstance(b, int):
        return a < b
    from torch.fx.experimental.symbolic_shapes import guard_or_false

    return guard_or_false(a < b)
