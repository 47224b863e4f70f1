"""Where the rows of Q and K of a call stand: packed documents, lengths and offsets, checked and made into sequences."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.program.checks import check_counts, integer

_MOST_SHORT = 16  # tokens of rows that may have as many documents as tokens


class Positions(NamedTuple):
    """What a call says about positions beside the shapes of its tensors; None where it says nothing."""

    q_offset: Any = None
    k_offset: Any = None
    documents: Any = None
    lengths: Any = None
    q_lengths: Any = None

    @property
    def plain(self) -> bool:
        """Whether every row of the batch is one sequence, at positions that the host knows."""
        return all(x is None for x in self[1:]) and not isinstance(self.q_offset, Tensor)

    def reach(self, n_q: int, n_k: int) -> int:
        """Below what the positions of all sequences stay, n_q rows of Q and n_k of K; 0: they may be anywhere."""
        bounded = all(x is None or (isinstance(x, int) and x <= 0) for x in (self.q_offset, self.k_offset))
        return max(n_q, n_k) if bounded else 0


# ---------------------------------------------------------------- ways to hand over packed rows


class Packed(NamedTuple):
    """q, k and v as packed rows [1, H, T, D], and how results are handed back."""

    q: Tensor
    k: Tensor
    v: Tensor
    documents: Any
    jagged: Tensor | None = None  # its offsets; None: tokens came first

    def input(self, x: Any) -> Any:
        """An input of positions as one of the packed row: jagged [B, n] as [1, T], and [B, H, n] as [1, H, T]."""
        if self.jagged is None or not isinstance(x, Tensor) or not x.is_nested or x.layout != torch.jagged:
            return x
        if x.lengths() is not None or not _same_offsets(x.offsets(), self.jagged):
            raise ValueError("[SP0620] an input is a jagged tensor of other sequences than q: they must share offsets")
        if x.dim() == 3 and getattr(x, "_ragged_idx", 0) == 2:
            return x.transpose(1, 2).values().T[None]
        return x.values()[None] if x.dim() == 2 else x

    def out(self, x: Tensor) -> Tensor:
        """x [1, H, T, D] as q came."""
        if self.jagged is not None:
            return torch.nested.nested_tensor_from_jagged(x[0].transpose(0, 1), self.jagged).transpose(1, 2)
        return x[0].transpose(0, 1)

    def lse(self, x: Tensor) -> Tensor:
        """x [1, H, T] beside `out`: of tokens-first tensors [H, T], of jagged ones [B, H, n]."""
        if self.jagged is not None:
            return torch.nested.nested_tensor_from_jagged(x[0].transpose(0, 1), self.jagged).transpose(1, 2)
        return x[0]


def packed(q: Tensor, k: Tensor, v: Tensor, documents: Any) -> Packed | None:
    """Jagged nested tensors [B, H, n, D] and tokens-first ones [T, H, D] as packed rows, without a copy; else None."""
    if q.is_nested or k.is_nested or v.is_nested:
        return _jagged(q, k, v, documents)
    if documents is not None and q.dim() == k.dim() == v.dim() == 3:
        row_q, row_k, row_v = (x.transpose(0, 1)[None] for x in (q, k, v))
        return Packed(row_q, row_k, row_v, documents)
    return None


def _jagged(q: Tensor, k: Tensor, v: Tensor, documents: Any) -> Packed:
    if documents is not None:
        raise ValueError("[SP0612] documents: jagged tensors say where their sequences are; leave it out")
    rows = []
    for name, x in zip("qkv", (q, k, v), strict=True):
        if not x.is_nested or x.layout != torch.jagged:
            kind = "nested tensor, and no jagged one" if x.is_nested else "dense tensor beside nested ones"
            cure = "pass dense tensors, or all three as jagged nested tensors [B, H, n, D]"
            raise ValueError(f"[SP0601] {name} is a {kind}: {cure}")
        if x.lengths() is not None:
            cure = "its contiguous() has none"
            raise ValueError(f"[SP0601] {name} is a jagged tensor with gaps between its sequences: {cure}")
        if x.dim() != 4 or getattr(x, "_ragged_idx", 0) != 2:
            raise ValueError(
                f"[SP0601] {name}: jagged nested tensors are [B, H, n, D], of unequal n, as in torch's own; got "
                f"{x.dim()} dimensions, dimension {getattr(x, '_ragged_idx', 0)} of unequal sizes"
            )
        rows.append(x.transpose(1, 2).values().transpose(0, 1)[None])  # values: [T, H, D]
    offsets = q.offsets()
    if not all(_same_offsets(x.offsets(), offsets) for x in (k, v)):
        raise ValueError("[SP0612] q, k and v are jagged tensors of different sequences: they must share their offsets")
    row_q, row_k, row_v = rows
    return Packed(row_q, row_k, row_v, offsets, jagged=offsets)


def _same_offsets(own: Tensor, other: Tensor) -> bool:
    """Whether two tensors say the same, as far as may be looked."""
    if own is other or own.shape != other.shape:
        return own is other
    return not (_may_look(own) and _may_look(other)) or own.tolist() == other.tolist()


# ---------------------------------------------------------------- checks


def checked_positions(positions: Positions, q: Tensor, k: Tensor, most_positions: int) -> Positions:
    """What a call says about positions, its integers plain ones.  ValueError for what does not fit.

    Values of tensors on a GPU are looked at only where the environment variable SPARSEC_CHECK is 1: that waits for it.
    """
    (batch, _, n_q, _), n_k = q.shape, k.shape[2]
    if positions.documents is not None:
        _check_documents(positions, q, k)
        return positions
    numbers: dict[str, Any] = {}
    for name, least in (("lengths", 0), ("q_lengths", 0), ("q_offset", None), ("k_offset", None)):
        x = getattr(positions, name)
        if isinstance(x, Tensor):
            _check_tensor(name, x, (batch,), "one number for each row of the batch", q)
            most = most_positions if least is None else None
            _check_values(name, x, -most_positions if least is None else least, most)
        elif x is not None:
            if least is not None:
                raise ValueError(f"[SP0612] {name} must be an int32 tensor [{batch}], got {x!r}")
            x = integer(name, x)
            if not -most_positions <= x < most_positions:
                raise ValueError(f"[SP0606] positions stay below {most_positions}, got {name} {x}")
        numbers[name] = x
    if isinstance(numbers["q_offset"], int) and numbers["q_offset"] + n_q > most_positions:
        raise ValueError(f"[SP0606] positions stay below {most_positions}, got q_offset {numbers['q_offset']}")
    if numbers["q_offset"] is None and numbers["q_lengths"] is None:
        check_counts(n_q, n_k)
    _check_longest(numbers["lengths"], numbers["k_offset"], n_k)
    return positions._replace(**numbers)


def _check_documents(positions: Positions, q: Tensor, k: Tensor) -> None:
    documents, (batch, _, n_q, _), n = positions.documents, q.shape, k.shape[2]
    others = [name for name in ("lengths", "q_lengths", "q_offset", "k_offset") if getattr(positions, name) is not None]
    if others:
        cure = "documents say it: positions count from the start of each"
        raise ValueError(f"[SP0612] documents and {others[0]} can't be given together: {cure}")
    if n_q != n:
        raise ValueError(f"[SP0612] documents are about as many queries as keys, got {n_q} and {n}")
    if not isinstance(documents, Tensor):
        raise ValueError(f"[SP0612] documents must be a tensor, cu_seqlens or start, got {type(documents).__name__}")
    if documents.dim() == 2:
        _check_tensor("documents", documents, (batch, n), "the start of each token's document", q)
        if _may_look(documents):
            _check_starts(documents)
        return
    if documents.dim() != 1 or len(documents) == 0:
        shape = tuple(documents.shape)
        raise ValueError(f"[SP0612] documents must be cu_seqlens [documents + 1] or start [B, n], got shape {shape}")
    if batch != 1:
        cure = "fold the batch into one row, or give start [B, n]"
        raise ValueError(f"[SP0612] cu_seqlens are about one packed row, got {batch} rows: {cure}")
    _check_tensor("documents", documents, documents.shape, "", q)
    if _may_look(documents):
        _check_ends(documents.tolist(), n)


def _check_ends(ends: list[int], n: int) -> None:
    if ends != sorted(ends) or ends[0] < 0 or ends[-1] > n:
        raise ValueError(f"[SP0612] documents: cu_seqlens must rise from 0 or more to {n} or less, got {_short(ends)}")
    if len(ends) != n or n <= _MOST_SHORT or ends[-1] >= n - 1:
        return
    seems = f"[SP0612] documents must be cu_seqlens, and [{n}] looks like"
    if all(b <= a + 1 for a, b in pairwise(ends)):
        cure = "pass torch.nn.functional.pad(ids.bincount().cumsum(0), (1, 0))"
        raise ValueError(f"{seems} the number of each token's document, ids: {cure}")
    if ends[0] == 0 and all(b in (a, place) for place, (a, b) in enumerate(pairwise(ends), start=1)):
        raise ValueError(f"{seems} the start of each token's document, start: pass start[None], [B, n]")


def _check_starts(start: Tensor) -> None:
    place = torch.arange(start.shape[1], device=start.device)
    before = torch.nn.functional.pad(start, (1, 0))[:, :-1]
    wrong = (start != place) & ((start != before) | (place == 0))
    if bool(wrong.any()):
        row, token = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"[SP0612] documents: a token's start is its own position or the start of the token before it; "
            f"token {token} of row {row} has {int(start[row, token])}"
        )


def _check_tensor(name: str, x: Tensor, shape: tuple, meaning: str, q: Tensor) -> None:
    # Sizes are printed where they are wrong alone: those of a traced call would be fixed by it.
    if tuple(x.shape) != tuple(shape):
        cure = ": of a mask, its sum over each row" if x.dim() == 2 and name in ("lengths", "q_lengths") else ""
        raise ValueError(f"[SP0612] {name} must be {[*shape]}, {meaning}, got shape {tuple(x.shape)}{cure}")
    if x.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"[SP0612] {name} must be of int32 or int64, got {x.dtype}")
    if x.device != q.device:
        raise ValueError(f"[SP0603] {name} must be on the device of q, {q.device}, got {x.device}")


def _check_values(name: str, x: Tensor, least: int, most: int | None) -> None:
    if _may_look(x) and x.numel():
        low, high = int(x.min()), int(x.max())
        if low < least or (most is not None and high >= most):
            raise ValueError(
                f"[SP0612] {name} must be {least} or more{f', below {most}' if most else ''}, got {low}..{high}"
            )


def _check_longest(lengths: Tensor | None, k_offset: Tensor | int | None, n_k: int) -> None:
    if lengths is None or not _may_look(lengths) or (isinstance(k_offset, Tensor) and not _may_look(k_offset)):
        return
    wrong = (lengths > n_k + (0 if k_offset is None else k_offset)).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(f"[SP0612] lengths: row {row} has {int(lengths[row])} keys, and {n_k} are passed")


def _may_look(x: Tensor) -> bool:
    """Whether values may be looked at: on a GPU that waits for it."""
    return has_values(x) and (x.device.type == "cpu" or looks())


# As it is kept, since known calls ask each time: `os.environ` takes a microsecond to encode a name.
_ENVIRONMENT: Any = getattr(os.environ, "_data", os.environ)
_CHECK, _YES = (x if _ENVIRONMENT is os.environ else os.environ.encodekey(x) for x in ("SPARSEC_CHECK", "1"))


def looks() -> bool:
    """Whether values on a GPU are checked."""
    return _ENVIRONMENT.get(_CHECK) == _YES


def has_values(x: Tensor) -> bool:
    """Whether there are values: not in a traced or transformed call."""
    if type(x) is not Tensor or x.is_meta or torch.compiler.is_compiling():
        return False
    return not torch._C._are_functorch_transforms_active() and torch._C._len_torch_dispatch_stack() == 0


def _short(numbers: list[int]) -> str:
    return str(numbers) if len(numbers) < 9 else f"[{', '.join(map(str, numbers[:8]))}, ...]"
