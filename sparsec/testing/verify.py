"""An operator against dense attention on this machine, forward and backward, on lengths that fit no tile.

Where all pairs would be too many, some queries are looked at: only they get a gradient, so their rows of the mask are
enough to know every key's gradient exactly.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from sparsec.analysis.rows import first_pair, queries_with_keys
from sparsec.ir import reference
from sparsec.ir.nodes import Pattern
from sparsec.runtime.attend import Attend
from sparsec.testing.choices import checked_choices
from sparsec.testing.data import masks, random_data, random_reals
from sparsec.testing.dense_attention import Comparison, compare, random_problem, run
from sparsec.testing.scores import scores_of

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

    @property
    def queries(self) -> range:
        """The positions of the queries."""
        first = self.n_k - self.n_q if self.q_offset is None else self.q_offset
        return range(first, first + self.n_q)


@dataclass(frozen=True, slots=True)
class Tried:
    """What one case showed; of calls without a kept pair all results are 0, which proves nothing."""

    comparisons: list[Comparison]
    pairs: bool

    @property
    def holds(self) -> bool:
        """Whether every error is within its bound."""
        return all(each.holds for each in self.comparisons)


def best_device(pattern: Pattern | None = None) -> torch.device:
    """A GPU where there is one that kernels can be compiled for; the CPU for a pattern with inputs, which has none."""
    usable = torch.cuda.is_available() and importlib.util.find_spec("triton") is not None
    usable = usable and not (pattern and pattern.inputs)
    return torch.device("cuda" if usable else "cpu")


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"


def cases(heads: int | None, n: int, device: torch.device, queries: range | None = None) -> list[Case]:
    """What `sparsec verify` tries: n keys and the queries asked for, by default n, and a few lengths below 300.

    `heads`: what the pattern is bound to.
    """
    count = heads or 4
    group = 2 if count % 2 == 0 else 1
    low = (torch.float16, torch.bfloat16) if device.type == "cuda" else (torch.float32,)
    every = (torch.float32, *low) if device.type == "cuda" else low
    shared, own = (count, count // group), (count, count)
    asked = range(n) if queries is None else queries
    offset = None if asked.stop == n else asked.start
    last = min(len(asked), 77)
    return [
        Case(1, 1, *own, 64, torch.float32),
        *(Case(13, 13, *own, 16, dtype) for dtype in every),
        *(Case(203, 203, *shared, 64, dtype) for dtype in every),
        *(Case(61, 150, *shared, 80, dtype) for dtype in low),
        *(Case(150, 61, *own, 128, dtype, q_offset=20) for dtype in low),
        *(Case(len(asked), n, *shared, 64, dtype, offset) for dtype in low),
        Case(last, n, *shared, 128, low[-1], None if offset is None else asked.stop - last),
    ]


def telling(case: Case, pattern: Pattern) -> Case:
    """The case, moved to an offset and if need be to a number of keys at which the pattern keeps some of its pairs.

    A pattern on a canvas, of the first dozen queries say, keeps none at most calls.  The case as it is where no pair
    is found.
    """
    if len(queries_with_keys(pattern, case.n_k, case.queries)):
        return case
    among = queries_with_keys(pattern, case.n_k, range(max(2 * case.n_k, case.n_q)))
    if len(among):
        return replace(case, q_offset=int(among[0]))
    pair = first_pair(pattern)
    if pair is None:
        return case
    return replace(case, n_k=max(case.n_k, pair.n), q_offset=max(0, pair.q - case.n_q // 2))


def verify(attend: Callable, pattern: Pattern, case: Case, device: torch.device, seed: int = 0) -> Tried:
    """Errors and bounds of one case; `attend` is the generated function of the pattern, or what `load` returns.

    Inputs of the pattern are drawn, but for those that it makes itself.
    """
    if any(each.choice for each in pattern.inputs):
        case = _shorter(case, _MOST_PAIRS[device.type])
    rows = _rows(case, pattern, _MOST_PAIRS[device.type], seed)
    reals = tuple(each for each in pattern.score_inputs if each.kind == "float")
    drawn = tuple(each for each in (*pattern.inputs, *pattern.score_inputs) if not each.choice and each not in reals)
    drawn += pattern.choice_inputs
    more = {"n_q": case.n_q, "kv_heads": case.kv_heads, "head_size": case.head_size}
    data = random_data(drawn, 1, case.heads, case.n_k, seed, **more)
    given = {name: torch.from_numpy(some).to(device) for name, some in data.items()}
    given |= {
        name: torch.from_numpy(some).to(device, torch.promote_types(case.dtype, torch.float32))
        for name, some in random_reals(reals, case.heads, case.n_k, seed).items()
    }
    problem = random_problem(
        np.ones((len(rows), case.n_k), bool),
        heads=case.heads,
        kv_heads=case.kv_heads,
        head_size=case.head_size,
        dtype=case.dtype,
        device=device,
        seed=seed,
        scores=scores_of(pattern, case.heads, rows + case.queries.start, given),
    )
    if any(each.choice for each in pattern.inputs):
        choices = attend.choices if isinstance(attend, Attend) else attend.__globals__["_OPERATOR"].choices
        data |= checked_choices(choices, pattern, problem.q, problem.k, problem.scale, case.queries.start, given)
    mask = _mask(pattern, rows + case.queries.start, case, data)
    problem = replace(problem, mask=torch.from_numpy(mask).to(device))
    attend = partial(attend, **given) if given else attend
    tried = attend if len(rows) == case.n_q else _among(attend, torch.from_numpy(rows).to(device), case.n_q)
    return Tried(compare(run(tried, problem, case.q_offset), problem), bool(mask.any()))


def _shorter(case: Case, most_pairs: int) -> Case:
    """A case of which all queries are looked at: those that are not there would change what others choose."""
    n_q = min(case.n_q, max(1, most_pairs // 4 // (case.n_k * case.heads)))
    if n_q == case.n_q:
        return case
    n = min(case.n_k, max(1, most_pairs // 4 // (n_q * case.heads)), 1024)
    return replace(case, n_q=min(n_q, n), n_k=n, q_offset=None)


def _rows(case: Case, pattern: Pattern, most_pairs: int, seed: int) -> np.ndarray:
    """The queries to look at: all, or the first, the last, and random ones between them, half of them with keys."""
    count = max(_FEWEST_ROWS, most_pairs // (case.n_k * case.heads))
    if count >= case.n_q:
        return np.arange(case.n_q)
    random = np.random.default_rng(seed)
    between = np.arange(1, case.n_q - 1)
    kept = np.intersect1d(queries_with_keys(pattern, case.n_k, case.queries) - case.queries.start, between)
    kept = random.choice(kept, min(len(kept), (count - 2) // 2), replace=False)
    others = random.choice(np.setdiff1d(between, kept), count - 2 - len(kept), replace=False)
    return np.sort(np.concatenate([[0, case.n_q - 1], kept, others]))


def _mask(pattern: Pattern, queries: np.ndarray, case: Case, data: Mapping[str, np.ndarray]) -> np.ndarray:
    """Bool [queries, n], or [H, queries, n] for a pattern that depends on the heads, or on data."""
    n = case.n_k
    if pattern.inputs:
        return masks(pattern, data, 1, case.heads, queries, n, case.queries.start)[0]
    by_condition = [reference.evaluate(condition, queries, np.arange(n), n) for condition in pattern.conditions]
    heads = pattern.head_conditions
    return np.stack([by_condition[index] for index in heads]) if heads else by_condition[0]


def _among(attend: Callable, rows: Tensor, n_q: int) -> Callable:
    """The operator with n_q queries, of which those at `rows` are given and come back; the others are random."""

    def chosen(q: Tensor, k: Tensor, v: Tensor, **keywords) -> tuple[Tensor, Tensor]:
        others = torch.randn((*q.shape[:2], n_q, q.shape[3]), dtype=q.dtype, device=q.device)
        out, lse = attend(others.index_copy(2, rows, q), k, v, **keywords)
        return out[:, :, rows], lse[:, :, rows]

    return chosen
