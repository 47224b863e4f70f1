"""A pattern with everything bound, as `Attend.pattern` shows it: its text, its mask, and forms of it for others."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, SupportsIndex

from sparsec.cache.records import Record

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
    from torch.nn.attention.flex_attention import BlockMask

    from sparsec.ir import nodes as ir
    from sparsec.runtime.flex import MaskMod
    from sparsec.runtime.flex_scores import ScoreMod


class BoundPattern:
    """A pattern with its parameters, heads and layer bound."""

    def __init__(self, record: Record, counts: Mapping[str, int]) -> None:
        self._record, self._counts = record, counts

    @cached_property
    def _pattern(self) -> ir.Pattern:
        from sparsec.ir.nodes import Pattern
        from sparsec.ir.serialize import unpack

        pattern = unpack(self._record.pattern)
        assert isinstance(pattern, Pattern)
        return pattern

    @property
    def nodes(self) -> ir.Pattern:
        """The conditions, one for each kind of head, as `sparsec.ir.nodes` has them."""
        return self._pattern

    @property
    def name(self) -> str:
        return self._pattern.name

    @property
    def doc(self) -> str:
        """The string before the declaration, "" where there is none."""
        return self._pattern.doc

    @property
    def text(self) -> str:
        """The declaration as written, behind the inputs, sets and scores that it needs besides the prelude's."""
        return self._pattern.text

    @property
    def parameters(self) -> Mapping[str, int]:
        """What the parameters are bound to, in the order of the declaration."""
        return dict(self._pattern.parameters)

    @property
    def heads(self) -> int | None:
        """Number of query heads that the pattern is compiled for; None when it serves any."""
        return self._pattern.heads

    def mask(self, n_q: int, n_k: int, q_offset: int | None = None, **inputs: object) -> np.ndarray:
        """Bool [n_q, n_k], or [H, n_q, n_k] for a pattern that depends on the heads: may query i see key j?

        Query i is at position i + q_offset, by default i + n_k - n_q.  `inputs` are arrays or tensors for the inputs
        that the pattern reads; with rows of a batch or heads among their axes, the mask has these, too: [B, H, n_q,
        n_k].  Evaluated literally, by the reference; takes memory for every pair.  SparsecError when n_q > n_k and
        there is no offset, and for inputs that are missing or do not fit.
        """
        from sparsec.diagnostics import OffsetNeeded, SparsecError
        from sparsec.runtime.given import mask

        n_q, n_k = _length("n_q", n_q), _length("n_k", n_k)
        if q_offset is None and n_q > n_k:
            raise SparsecError(OffsetNeeded(n_q=n_q, n_k=n_k))
        return mask(self._pattern, n_q, n_k, q_offset, inputs)

    def mask_mod(
        self, n: int, device: torch.device | str = "cpu", *, n_q: int | None = None, **inputs: object
    ) -> MaskMod:
        """The pattern over n keys and n_q queries as FlexAttention's `create_block_mask` takes it, for comparisons.

        mask_mod(b, h, q_idx, kv_idx); its tables are on `device`.  Query i stands at position i + n - n_q; n_q is n
        unless given.  `inputs` are arrays or tensors for those that the pattern reads.  ValueError for what does not
        fit, SparsecError for inputs that do not.
        """
        from sparsec.runtime.flex import mask_mod

        n, n_q = _lengths(n, n_q)
        return mask_mod(self._pattern, n, as_device(device), n - n_q, inputs)

    def score_mod(
        self,
        n: int,
        heads: int | None = None,
        device: torch.device | str = "cpu",
        *,
        n_q: int | None = None,
        **inputs: Tensor,
    ) -> ScoreMod | None:
        """The pattern's scores over n keys as FlexAttention's `flex_attention` takes them; None where it has none.

        score_mod(score, b, h, q_idx, kv_idx), its tables on `device`.  `heads` is the number of query heads of the
        call, which the pattern may be compiled for; query i stands at position i + n - n_q, and n_q is n unless given.
        `inputs` are tensors for what scores read, on the device; gradients go through those of float.
        """
        from sparsec.runtime.flex_scores import score_mod

        n, n_q = _lengths(n, n_q)
        count = self._pattern.heads if heads is None else _length("heads", heads)
        if not count or self._pattern.heads not in (None, count):
            wanted = f"{self._pattern.heads}" if self._pattern.heads else "the number of query heads of the call"
            raise ValueError(f"[SP0601] heads must be {wanted}, got {heads}")
        return score_mod(self._pattern, n, count, as_device(device), n - n_q, inputs)

    def block_mask(
        self,
        n: int,
        block_size: int | tuple[int, int] = 128,
        *,
        n_q: int | None = None,
        device: torch.device | str = "cpu",
        batch: int | None = None,
        heads: int | None = None,
        **inputs: object,
    ) -> BlockMask:
        """The pattern as `flex_attention(q, k, v, block_mask=...)` takes it, with `mask_mod` inside.

        The same as `create_block_mask(pattern.mask_mod(n), batch, heads, n, n, device, block_size)`, entry by entry,
        and made from the classes of tiles, so that its cost grows with their number and not with n * n.  `block_size`
        is of queries and keys, or both.  Query i stands at position i + n - n_q.  `heads` is the number that the
        pattern is compiled for, or any where it serves all alike.
        """
        from sparsec.runtime.block_mask import block_mask

        n, n_q = _lengths(n, n_q)
        return block_mask(self._pattern, n, block_size, n_q, as_device(device), batch, heads, inputs)

    def count(self, n: int, *, n_q: int | None = None, q_offset: int | None = None) -> int:
        """Kept pairs of n keys and n_q queries, exactly, in all heads (in one, for a pattern that serves any number).

        n_q is n unless given; query i is at position i + q_offset, by default i + n - n_q.  Counted by formula where
        there is one, so that n may be large.  `sparsec.analysis.numbers.Uncounted` where a set is too intricate for
        that and n too large for anything else.
        """
        from sparsec.analysis.count import pattern_count
        from sparsec.diagnostics import OffsetNeeded, SparsecError
        from sparsec.ir.inputs import refuse_inputs

        refuse_inputs(self._pattern, "a count", "`sparsec cost` gives a bound; `mask(n, n, ...).sum()` counts one call")
        n = _length("n", n)
        n_q = n if n_q is None else _length("n_q", n_q)
        if q_offset is None and n_q > n:
            raise SparsecError(OffsetNeeded(n_q=n_q, n_k=n))
        first = n - n_q if q_offset is None else operator.index(q_offset)
        return pattern_count(self._pattern, n, range(first, first + n_q))

    def __repr__(self) -> str:
        bound = ", ".join(f"{name}={value}" for name, value in self.parameters.items())
        counts = "".join(f", {name}={value}" for name, value in self._counts.items())
        return f"{self.name}({bound}){counts}"

    def _repr_html_(self) -> str:
        """For notebooks: the mask, at a length at which its structure is seen, and the declaration."""
        from sparsec.show.notebook import notebook_html

        return notebook_html(self._pattern)

    def _repr_svg_(self) -> str:
        """For notebooks that take no HTML: the mask, at a length at which its structure is seen."""
        from sparsec.show.notebook import notebook_svg

        return notebook_svg(self._pattern)


def _length(name: str, value: SupportsIndex) -> int:
    """A number of positions as an int, whatever kind of integer it is."""
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number < 0:
        raise ValueError(f"[SP0601] {name} must be an integer, 0 or more, got {value!r}")
    return number


def _lengths(n: SupportsIndex, n_q: SupportsIndex | None) -> tuple[int, int]:
    """The numbers of keys and of queries, the last of these keys; all of them unless given."""
    n = _length("n", n)
    n_q = n if n_q is None else _length("n_q", n_q)
    if not 1 <= n_q <= n:
        raise ValueError(f"[SP0601] 1 <= n_q <= n must hold, got n_q = {n_q}, n = {n}")
    return n, n_q


def as_device(value: torch.device | str) -> torch.device:
    """A device as torch knows it; a number there is a length that went astray."""
    import torch

    try:
        if isinstance(value, torch.device | str):
            return torch.device(value)
    except RuntimeError:
        pass
    raise ValueError(f"[SP0606] device must be one of torch's, such as 'cuda', got {value!r}")
