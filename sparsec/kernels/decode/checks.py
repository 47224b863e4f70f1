"""What a decoding step asks of its tensors; nothing is launched with others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.decode.pages import Pages
from sparsec.kernels.program.checks import check_head_sizes, check_kinds
from sparsec.kernels.sequences.positions import looks

MOST_ROWS = 16  # of a step
_MOST_D, _MOST_V_D = 576, 512  # head sizes: those of a compressed cache (DeepSeek-V2, arXiv:2405.04434)


def checked_step(
    q: Any, k: Any, v: Any, lengths: Any, pages: Any, out: Any, heads: int | None, most_positions: int
) -> Pages:
    """The table of pages of a call, after everything about its tensors has been found sound.  ValueError."""
    if not all(isinstance(x, Tensor) for x in (q, k, v)):
        kinds = ", ".join(type(x).__name__ for x in (q, k, v))
        raise ValueError(f"[SP0601] q, k and v must be tensors, got {kinds}")
    if torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        cure = "decode under torch.no_grad(), or call attend(q, k, v)"
        raise ValueError(f"[SP0607] a step of decoding has no gradient: {cure}")
    if q.dim() not in (3, 4) or k.dim() != 4 or v.dim() != 4:
        shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in (("q", q), ("k", k), ("v", v)))
        raise ValueError(f"[SP0601] expected q [B, H, D] or [B, m, H, D], k and v of 4 dimensions, got {shapes}")
    check_kinds(q, k, v)
    _check_integers("lengths", lengths, (q.shape[0],), q)
    if pages is not None:
        _check_pages(pages, q)
    _check_sizes(q, k, v, pages, heads)
    paged = Pages.of(pages, k)
    capacity = paged.capacity(k)
    if capacity >= most_positions:
        raise ValueError(f"[SP0601] a sequence can have {most_positions - 1} keys at most, the cache has {capacity}")
    if (q.device.type == "cpu" or looks()) and lengths.numel():
        low, high = int(lengths.min()), int(lengths.max())
        if low < 0 or high > capacity:
            raise ValueError(f"[SP0612] lengths must be 0 to {capacity}, the room of the cache, got {low}..{high}")
    _check_out(out, q, v)
    if q.device.type != "cpu":
        for name, x in (("k", k), ("v", v)):
            if not is_readable(x):
                cure = "rows of D begin at multiples of 16 bytes in caches that are allocated at once"
                raise ValueError(f"[SP0601] {name} can't be read as it lies, strides {x.stride()}: {cure}")
    return paged


def _check_sizes(q: Tensor, k: Tensor, v: Tensor, pages: Any, wanted: int | None) -> None:
    *_, heads, dim = q.shape
    kv_heads, place = (k.shape[1], "[B, H_kv, N, D]") if pages is None else (k.shape[2], "[pages, page, H_kv, D]")
    if k.shape[:3] != v.shape[:3] or k.shape[3] != dim or (pages is None and k.shape[0] != q.shape[0]):
        got = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
        raise ValueError(f"[SP0601] k must be {place}, with the head size of q, and v alike but for its own; got {got}")
    check_head_sizes(dim, v.shape[3], _MOST_D, _MOST_V_D)
    if q.dim() == 4 and not 1 <= q.shape[1] <= MOST_ROWS:
        cure = "call attend(q, k, v, lengths=...) for more"
        raise ValueError(f"[SP0601] a step has 1 to {MOST_ROWS} rows, q [B, m, H, D] has m = {q.shape[1]}: {cure}")
    if heads % kv_heads if kv_heads else heads:
        counts = f"{heads} query heads and {kv_heads} key heads"
        raise ValueError(f"[SP0604] the number of query heads must be a multiple of that of key heads, got {counts}")
    if wanted is not None and heads != wanted:
        raise ValueError(f"[SP0604] this pattern was compiled for {wanted} query heads, got {heads}")


def _check_integers(name: str, x: Any, shape: tuple[int | None, ...], q: Tensor) -> None:
    said = ", ".join("any" if size is None else str(size) for size in shape)
    if not isinstance(x, Tensor) or x.dtype not in (torch.int32, torch.int64):
        got = f"a tensor of {x.dtype}" if isinstance(x, Tensor) else repr(x)
        raise ValueError(f"[SP0612] {name} must be a tensor of int32 [{said}], got {got}")
    if x.dim() != len(shape) or any(size not in (None, own) for size, own in zip(shape, x.shape, strict=True)):
        raise ValueError(f"[SP0612] {name} must be [{said}], got shape {tuple(x.shape)}")
    if x.device != q.device:
        raise ValueError(f"[SP0603] {name} must be on the device of q, {q.device}, got {x.device}")


def _check_pages(pages: Any, q: Tensor) -> None:
    batch = q.shape[0]
    if isinstance(pages, tuple):
        if len(pages) != 2:
            raise ValueError(f"[SP0612] pages must be a table [B, most] or (indptr, indices), got {len(pages)} tensors")
        _check_integers("indptr of pages", pages[0], (batch + 1,), q)
        _check_integers("indices of pages", pages[1], (None,), q)
        named = {"indptr": pages[0], "indices": pages[1]}
    else:
        _check_integers("pages", pages, (batch, None), q)
        named = {"pages": pages}
    for name, x in named.items():
        if x.numel() and x.stride(-1) != 1:
            raise ValueError(f"[SP0612] {name}: a row must be contiguous, got strides {x.stride()}")


def _check_out(out: Any, q: Tensor, v: Tensor) -> None:
    if out is None:
        return
    shape = *q.shape[:-1], v.shape[3]
    if not isinstance(out, Tensor) or out.shape != shape or out.dtype != q.dtype or out.device != q.device:
        wanted = f"{shape}, {q.dtype}, on {q.device}"
        raise ValueError(f"[SP0601] out must be a tensor like q, with the head size of v, {wanted}, got {_told(out)}")


def _told(x: Any) -> str:
    return f"{tuple(x.shape)}, {x.dtype}, on {x.device}" if isinstance(x, Tensor) else repr(x)


def is_readable(x: Tensor) -> bool:
    """Whether kernels can read a tensor: strides are passed in units of 8 elements."""
    *outer, last = x.stride()
    return last == 1 and not any(stride % 8 for stride in outer) and x.data_ptr() % 16 == 0
