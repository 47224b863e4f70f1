"""What the host does before a launch, without a GPU."""

from __future__ import annotations

import pytest
import torch
from generated import pattern_of, spread_module_of


def strided():
    return spread_module_of(pattern_of("pattern p = causal & (past(16) | stride(16))"))


@pytest.mark.parametrize("transposed", [False, True])
def test_a_descriptor_sees_residue_classes(transposed: bool) -> None:
    """As a view that has them for a dimension of their own."""
    x = torch.empty(2, 96, 3, 16).transpose(1, 2) if transposed else torch.empty(2, 3, 96, 16)
    view = x.unflatten(2, (-1, 16)).transpose(2, 3)
    found = strided()._descriptor(x, 16, [1, 1, 4, 16])
    assert (found.base.data_ptr(), found.shape, found.strides) == (view.data_ptr(), [*view.shape], [*view.stride()])
    assert found.block_shape == [1, 1, 1, 4, 16]
    plain = strided()._descriptor(x, 1, [1, 1, 4, 16])
    assert (plain.shape, plain.strides, plain.block_shape) == ([*x.shape], [*x.stride()], [1, 1, 4, 16])


@pytest.mark.parametrize(("n_q", "length"), [(16 * 128, 128), (16 * 128 + 1, 256), (16 * 128 - 1, 128), (5, 128)])
def test_rows_that_are_not_there_weigh_nothing(n_q: int, length: int) -> None:
    rows = strided()._class_rows(torch.empty(2, 3, n_q), 16)
    assert rows.shape == (2 * 2 * 3 * 16, length)
    if n_q < 16 * length:  # else every row is written
        lse, delta = rows.chunk(2)
        assert (lse == torch.inf).all()
        assert (delta == 0).all()


def test_sizes_are_rounded_up() -> None:
    module = strided()
    assert [module._cdiv(x, 16) for x in (0, 1, 16, 17)] == [0, 1, 1, 2]
    room = module._room(torch.empty(2, 5, 3, 16).transpose(1, 2), torch.float16)
    assert room.shape == (2, 3, 5, 16)
    assert room.is_contiguous()
    assert room.dtype == torch.float16
