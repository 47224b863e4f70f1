"""An operator against dense attention on this machine, forward and backward, on lengths that fit no tile.

Where all pairs would be too many, some queries are looked at: only they get a gradient, so their rows of the mask are
enough to know every key's gradient exactly.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sparsec.ir import reference
from sparsec.ir.nodes import Pattern
from sparsec.runtime.oracle import Comparison, compare, random_problem, run

_MOST_PAIRS = {"cpu": 2**21, "cuda": 2**25}  # of all heads, in the dense computation: some 0.2 and 4 GB
_FEWEST_ROWS = 8


@dataclass(frozen=True, slots=True)
class Case:
    """Shapes and dtype of a call; q_offset None is the default, the queries at the end of the keys."""

    n_q: int
    n_k: int
    heads: int
    kv_heads: int
    head_size: int
    dtype: torch.dtype
    q_offset: int | None = None


def best_device() -> torch.device:
    """A GPU where there is one that kernels can be compiled for."""
    usable = torch.cuda.is_available() and importlib.util.find_spec("triton") is not None
    return torch.device("cuda" if usable else "cpu")


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"


def cases(heads: int | None, n: int, device: torch.device) -> list[Case]:
    """What `sparsec verify` tries: n keys, and a few lengths below 300.  `heads`: what the pattern is bound to."""
    count = heads or 4
    group = 2 if count % 2 == 0 else 1
    low = (torch.float16, torch.bfloat16) if device.type == "cuda" else (torch.float32,)
    every = (torch.float32, *low) if device.type == "cuda" else low
    shared, own = (count, count // group), (count, count)
    return [
        Case(1, 1, *own, 64, torch.float32),
        *(Case(13, 13, *own, 16, dtype) for dtype in every),
        *(Case(203, 203, *shared, 64, dtype) for dtype in every),
        *(Case(61, 150, *shared, 80, dtype) for dtype in low),
        *(Case(150, 61, *own, 128, dtype, q_offset=20) for dtype in low),
        *(Case(n, n, *shared, 64, dtype) for dtype in low),
        Case(min(n, 77), n, *shared, 128, low[-1]),
    ]


def verify(attend: Callable, pattern: Pattern, case: Case, device: torch.device, seed: int = 0) -> list[Comparison]:
    """Errors and bounds of one case; `attend` is the generated function of the pattern, or what `load` returns."""
    offset = case.n_k - case.n_q if case.q_offset is None else case.q_offset
    rows = _rows(case, _MOST_PAIRS[device.type], seed)
    problem = random_problem(
        _mask(pattern, rows + offset, case.n_k),
        heads=case.heads,
        kv_heads=case.kv_heads,
        head_size=case.head_size,
        dtype=case.dtype,
        device=device,
        seed=seed,
    )
    tried = attend if len(rows) == case.n_q else _among(attend, torch.from_numpy(rows).to(device), case.n_q)
    return compare(run(tried, problem, case.q_offset), problem)


def _rows(case: Case, most_pairs: int, seed: int) -> np.ndarray:
    """The queries to look at: all, or the first, the last, and random ones between them."""
    count = max(_FEWEST_ROWS, most_pairs // (case.n_k * case.heads))
    if count >= case.n_q:
        return np.arange(case.n_q)
    between = np.random.default_rng(seed).choice(case.n_q - 2, count - 2, replace=False) + 1
    return np.sort(np.concatenate([[0, case.n_q - 1], between]))


def _mask(pattern: Pattern, queries: np.ndarray, n: int) -> np.ndarray:
    """Bool [queries, n], or [H, queries, n] for a pattern that depends on the heads."""
    masks = [reference.evaluate(condition, queries, np.arange(n), n) for condition in pattern.conditions]
    return np.stack([masks[index] for index in pattern.head_conditions]) if pattern.heads else masks[0]


def _among(attend: Callable, rows: Tensor, n_q: int) -> Callable:
    """The operator with n_q queries, of which those at `rows` are given and come back; the others are random."""

    def chosen(q: Tensor, k: Tensor, v: Tensor, **keywords) -> tuple[Tensor, Tensor]:
        others = torch.randn((*q.shape[:2], n_q, q.shape[3]), dtype=q.dtype, device=q.device)
        out, lse = attend(others.index_copy(2, rows, q), k, v, **keywords)
        return out[:, :, rows], lse[:, :, rows]

    return chosen
