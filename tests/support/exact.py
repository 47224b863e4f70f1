"""How far results may be from exact ones: tolerances that come from the data."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

_ROUNDINGS = 8  # of the largest number: those of a sum of few terms, where the other computation happens to have none


def assert_as_exact(
    found: Iterable[Tensor], exact: Iterable[Tensor], plain: Iterable[Tensor], sizes: Iterable[Tensor] | None = None
) -> None:
    """No further from `exact` than twice what `plain` is, another computation of the same, and some roundings.

    Where `plain` is of another type, its error counts in roundings: float64's are 2 ** -29 of float32's.  What is not
    finite in `plain` is the same in what was found.

    `sizes`: of the terms that each result is the sum of, together; without them, of the results, as if none cancelled.
    """
    exact = [*exact]
    for number, (ours, true, other, size) in enumerate(zip(found, exact, plain, sizes or exact, strict=True)):
        finite, wide = other.isfinite(), torch.promote_types(true.dtype, torch.float64)
        torch.testing.assert_close(ours[~finite].to(other.dtype), other[~finite], equal_nan=True, rtol=0, atol=0)
        if not finite.any():
            continue
        error, theirs = ((x[finite].to(wide) - true[finite].to(wide)).abs().max().item() for x in (ours, other))
        eps = torch.finfo(ours.dtype).eps
        bound = 2 * theirs * eps / torch.finfo(other.dtype).eps + _ROUNDINGS * eps * size[finite].abs().max().item()
        assert error <= bound, f"result {number}: {error:.2e} > {bound:.2e}"
