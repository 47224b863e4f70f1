"""Caches of keys for tests of decoding, with NaN wherever no sequence has a key, and what a step has to give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from sparsec.ir.nodes import Pattern
from sparsec.kernels.decode.call import Decoder
from sparsec.pipeline import steps
from sparsec.runtime.module import module
from sparsec.testing import dense_attention
from sparsec.testing.dense_attention import Comparison, Problem, Results
from sparsec.testing.scores import scores_of
from support.generated import mask_of, module_of

FORMS = ("flat", "table", "indices", "heads first")


@dataclass
class Sequences:
    """Rows q [B, m, H, D] at the ends of sequences, and the keys k, v [H_kv, n, D] of each."""

    q: Tensor
    k: list[Tensor]
    v: list[Tensor]

    @property
    def lengths(self) -> list[int]:
        return [x.shape[1] for x in self.k]


def random_sequences(
    lengths: list[int], *, rows: int = 1, heads: int = 4, kv_heads: int = 2, head_size: int = 16,
    dtype: torch.dtype = torch.float32, device: str = "cpu", seed: int = 0,
) -> Sequences:  # fmt: skip
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    q = normal(len(lengths), rows, heads, head_size)
    k, v = ([normal(kv_heads, n, head_size) for n in lengths] for _ in "kv")
    return Sequences(q, k, v)


@cache
def decoder_of(pattern: Pattern) -> Decoder:
    """The steps of a pattern, from a module of their own."""
    text = steps(pattern)
    generated = module(text, f"steps_{abs(hash(text))}")
    return Decoder(generated._STEPS, module_of(pattern)._PROGRAM, pattern.heads)


def step(decoder: Decoder, own: Sequences, form: str, page: int = 8, room: int = 3, **more) -> tuple[Tensor, Tensor]:
    """out and lse of a step with the keys in a cache of some form, in shuffled pages; `room`: pages that are free."""
    given = cached(own, form, page, room)
    q = own.q if own.q.shape[1] > 1 else own.q[:, 0]
    given = {"sinks": None, "scale": None, "out": None, "return_lse": True, **given, **more}
    out, lse = decoder(q, **given)
    return out.view(own.q.shape), lse.view(own.q.shape[:3])


def cached(own: Sequences, form: str, page: int = 8, room: int = 3) -> dict:
    """k, v, lengths and pages; NaN in pages that no sequence has, and behind the last key of each."""
    device, (kv_heads, _, dim) = own.q.device, own.k[0].shape
    lengths = torch.tensor(own.lengths, dtype=torch.int32, device=device)
    if form == "flat":
        shape = len(own.lengths), kv_heads, max(own.lengths) + room, dim
        k, v = (torch.full(shape, float("nan"), dtype=own.q.dtype, device=device) for _ in "kv")
        for row, n in enumerate(own.lengths):
            k[row, :, :n], v[row, :, :n] = own.k[row], own.v[row]
        return {"k": k, "v": v, "lengths": lengths, "pages": None}
    counts = [-(-n // page) for n in own.lengths]
    total = sum(counts) + room
    numbers = torch.randperm(total, generator=torch.Generator().manual_seed(1)).tolist()
    shape = (total, kv_heads, page, dim) if form == "heads first" else (total, page, kv_heads, dim)
    k, v = (torch.full(shape, float("nan"), dtype=own.q.dtype, device=device) for _ in "kv")
    if form == "heads first":
        k, v = k.transpose(1, 2), v.transpose(1, 2)
    table = torch.full((len(counts), max(counts) + 2), -1, dtype=torch.int32)
    for row, count in enumerate(counts):
        for place in range(count):
            number = table[row, place] = numbers.pop()
            some = slice(place * page, (place + 1) * page)
            for held, keys in ((k, own.k[row]), (v, own.v[row])):
                page_keys = keys[:, some].transpose(0, 1)
                held[number, : len(page_keys)] = page_keys
    if form != "indices":
        return {"k": k, "v": v, "lengths": lengths, "pages": table.to(device)}
    starts = torch.tensor([0, *np.cumsum(counts)], dtype=torch.int32, device=device)
    indices = torch.cat([table[row, :count] for row, count in enumerate(counts)]).to(device)
    return {"k": k, "v": v, "lengths": lengths, "pages": (starts, indices)}


def compared(
    pattern: Pattern, own: Sequences, out: Tensor, lse: Tensor, scale: float | None = None
) -> list[Comparison]:
    """Each sequence against dense attention over its own keys; what stands before its first key must be 0 and -inf."""
    found = []
    _, m, heads, dim = own.q.shape
    factor = dim**-0.5 if scale is None else scale
    for row, n in enumerate(own.lengths):
        rows = min(m, n)
        nothing = (out[row, : m - rows] == 0).all() and (lse[row, : m - rows] == float("-inf")).all()
        found.append(Comparison("none", 0.0 if nothing else 1.0, 0.5))
        if not rows:
            continue
        mask = torch.as_tensor(mask_of(pattern, rows, n), device=own.q.device)
        q = own.q[row : row + 1, m - rows :].transpose(1, 2)
        scores = scores_of(pattern, heads, np.arange(n - rows, n))
        problem = Problem(mask, q, own.k[row][None], own.v[row][None], q, None, factor, scores)
        exact = dense_attention.dense(problem)
        own_out, own_lse = (
            out[row : row + 1, m - rows :].transpose(1, 2),
            lse[row : row + 1, m - rows :].transpose(1, 2),
        )
        results = Results(own_out, own_lse, exact.dq, exact.dk, exact.dv)
        found += [each for each in dense_attention.compare(results, problem) if each.name in ("out", "lse")]
    return found


def assert_right(pattern: Pattern, own: Sequences, out: Tensor, lse: Tensor, scale: float | None = None) -> None:
    """The results of a step, `own` with the keys that it may have lost."""
    found = compared(pattern, own, out, lse, scale)
    assert all(each.holds for each in found), ", ".join(map(str, found))


def free_unseen(pattern: Pattern, own: Sequences) -> Sequences:
    """The same sequences, with NaN for the keys that no row of a step sees: these may be dropped."""
    m, k, v = own.q.shape[1], [], []
    for row, n in enumerate(own.lengths):
        mask = mask_of(pattern, min(m, n), n)
        seen = torch.as_tensor(mask.any(tuple(range(mask.ndim - 1))), device=own.q.device)
        for found, keys in ((k, own.k[row]), (v, own.v[row])):
            found.append(torch.where(seen[:, None], keys, float("nan")))
    return replace(own, k=k, v=v)
