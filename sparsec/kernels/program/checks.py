"""Checks of a call: shapes, types, devices, scale and position, each with an error that names its cure."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def checked(q: Tensor, k: Tensor, v: Tensor, scale: Any, wanted_heads: int | None, most_positions: int) -> float:
    """The scale, after everything about the tensors of a call has been found sound.  ValueError.

    `wanted_heads`: the number of query heads that the pattern is compiled for.
    """
    _check_shapes(q, k, v, wanted_heads, most_positions)
    check_kinds(q, k, v)
    return q.shape[-1] ** -0.5 if scale is None else number_of(scale)


def _check_shapes(q: Tensor, k: Tensor, v: Tensor, wanted_heads: int | None, most_positions: int) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        if hasattr(x, "device_mesh"):
            cure = "call the operator on local tensors, over batches or heads, as local_map does"
            raise ValueError(f"[SP0601] {name} is a DTensor: {cure}")
        if x.is_nested or x.layout != torch.strided:
            kind = "nested" if x.is_nested else str(x.layout).removeprefix("torch.")
            cure = "pass dense ones, or all three as jagged nested tensors [B, H, n, D]"
            raise ValueError(f"[SP0601] {name} is a {kind} tensor: {cure}")
    if q.dim() != 4 or k.dim() != 4 or v.dim() != 4:
        shapes = ", ".join(f"{x} {tuple(t.shape)}" for x, t in (("q", q), ("k", k), ("v", v)))
        raise ValueError(f"[SP0601] expected q [B, H, n_q, D], k [B, H_kv, n, D] and v [B, H_kv, n, D_v], got {shapes}")
    batch, heads, n_q, dim = q.shape
    kv_batch, kv_heads, n, k_dim = k.shape
    if k.shape[:3] != v.shape[:3] or batch != kv_batch or dim != k_dim:
        raise ValueError(
            "[SP0601] k and v must have the same batch, heads and length, q their batch, and k the head size of q; "
            f"got q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
        )
    check_head_sizes(dim, v.shape[3], 256, 256)
    if n >= most_positions:
        raise ValueError(f"[SP0601] the number of keys must be below {most_positions}, got {n}")
    if heads % kv_heads if kv_heads else heads:
        counts = f"{heads} query heads and {kv_heads} key heads"
        raise ValueError(f"[SP0604] the number of query heads must be a multiple of that of key heads, got {counts}")
    if wanted_heads is not None and heads != wanted_heads:
        order = ": is this [B, n, H, D]? Then transpose(1, 2)" if n_q == wanted_heads else ""
        raise ValueError(f"[SP0604] this pattern was compiled for {wanted_heads} query heads, got {heads}{order}")


_WIDER = {  # by whose size, and the most
    ("", 256): "steps of decoding take up to 576; otherwise take dense attention",
    (" of v", 256): "give values in pieces, each with the same q and k",
}


def check_head_sizes(dim: int, v_dim: int, most: int, most_v: int) -> None:
    """ValueError for head sizes of q and k, and of v, that kernels have no tiles for."""
    for name, size, largest in (("", dim, most), (" of v", v_dim, most_v)):
        if size % 8 or not 16 <= size <= largest:
            wider = _WIDER.get((name, largest), "take dense attention")
            cure = "pad with columns of zeros" if size < largest else wider
            raise ValueError(
                f"[SP0601] the head size{name} must be a multiple of 8 from 16 to {largest}, got {size}: {cure}"
            )


def check_kinds(q: Tensor, k: Tensor, v: Tensor) -> None:
    if q.dtype != k.dtype or q.dtype != v.dtype or q.dtype not in _DTYPES:
        dtypes = f"{q.dtype}, {k.dtype}, {v.dtype}"
        raise ValueError(
            "[SP0602] q, k and v must all be float16, bfloat16 or float32, or float64 on the CPU: "
            f"convert with .to(dtype); got {dtypes}"
        )
    if q.device != k.device or q.device != v.device:
        devices = f"{q.device}, {k.device}, {v.device}"
        raise ValueError(f"[SP0603] q, k and v must be on one device: move them with .to(q.device); got {devices}")
    if q.device.type not in ("cpu", "cuda", "meta"):
        raise ValueError(f"[SP0603] q, k and v must be on the CPU or on a GPU that torch calls cuda, got {q.device}")
    if q.dtype == torch.float64 and q.device.type == "cuda":
        raise ValueError("[SP0602] float64 runs on CPU tensors only: convert with .float(), or move to the CPU")


def number_of(scale: Any) -> float:
    if isinstance(scale, torch.Tensor):
        cure = "attend(q * scale, k, v, scale=1.0), which also differentiates by it"
        raise ValueError(f"[SP0606] scale must be a number, got a tensor of shape {tuple(scale.shape)}: write {cure}")
    try:
        number = None if isinstance(scale, str | bytes | bool) else float(scale)
    except (TypeError, ValueError):
        number = None
    except OverflowError:
        number = float("inf")
    if number is None:
        raise ValueError(f"[SP0606] scale must be a number, got {scale!r}")
    if not abs(number) < 1.0e38:
        raise ValueError(f"[SP0606] scale must be finite, and below 1e38, got {scale!r}")
    return number


def checked_flag(name: str, value: Any) -> bool:
    """An argument that is True or False.  ValueError."""
    if not isinstance(value, bool):
        raise ValueError(f"[SP0606] {name} must be True or False, got {value!r}")
    return value


def first_position(q_offset: Any, n_q: int, n: int, most_positions: int) -> int:
    """The position of the first query: q_offset, any kind of integer; by default queries are the last of the keys."""
    if q_offset is None:
        check_counts(n_q, n)
        return n - n_q
    number = integer("q_offset", q_offset)
    if number < 0:
        cure = "shift the keys in the text instead, k + s in place of k"
        raise ValueError(f"[SP0606] q_offset must be 0 or more, got {q_offset}: positions begin at 0; {cure}")
    if number + n_q > most_positions:
        raise ValueError(f"[SP0606] positions stay below {most_positions}, got q_offset {q_offset} and {n_q} queries")
    return number


def check_counts(n_q: int, n: int) -> None:
    """ValueError where more queries than keys leave open where the first one stands."""
    if n_q > n:
        raise ValueError(
            f"[SP0605] {n_q} queries for {n} keys: pass q_offset, the position of the first query; "
            "with q_offset=0, query i stands at position i"
        )


def integer(name: str, value: Any) -> int:
    """An argument as an integer, whatever kind of integer it is.  ValueError."""
    if isinstance(value, int | torch.SymInt) and not isinstance(value, bool):
        return value
    try:
        number = None if isinstance(value, torch.Tensor | bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise ValueError(f"[SP0606] {name} must be an integer, got {value!r}")
    return number
