"""Dense attention in torch, and how far an operator may be from it: `sparsec verify` and the tests ask this file.

The rule for tolerances is attention-gym's: the operator's error is compared with that of the same dense computation
carried out in the operator's own dtype, so a bound comes from the data and not from a table of constants.
Everything here takes O(B H n_q n_k) memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import torch
from torch import Tensor

from sparsec.runtime.attend import Attend
from sparsec.testing.choices import checked_choices
from sparsec.testing.scores import Scores, scores_of


@dataclass(frozen=True, slots=True)
class Problem:
    """A call of an operator and the gradients that come back into it, of one dtype on one device.

    mask: bool [n_q, n_k] or [H, n_q, n_k]; q [B, H, n_q, D]; k [B, H_kv, n_k, D]; v, g of the head size of values; dlse
    [B, H, n_q] or None.
    """

    mask: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    g: Tensor
    dlse: Tensor | None
    scale: float
    scores: Scores | None = None  # None: scaled products are the scores


@dataclass(frozen=True, slots=True)
class Results:
    """out [B, H, n_q, D_v], lse [B, H, n_q]; dq, dk and dv as q, k and v."""

    out: Tensor
    lse: Tensor
    dq: Tensor
    dk: Tensor
    dv: Tensor


@dataclass(frozen=True, slots=True)
class Comparison:
    """The largest error of one output, and the largest that it may have."""

    name: str
    error: float
    bound: float

    @property
    def holds(self) -> bool:
        return self.error <= self.bound  # False for NaN

    def __str__(self) -> str:
        return f"{self.name:<3} {self.error:.1e} {'<=' if self.holds else '> '} {self.bound:.1e}"


def random_problem(
    mask: Tensor | np.ndarray,
    *,
    heads: int = 2,
    kv_heads: int | None = None,
    head_size: int = 16,
    v_head_size: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    batch: int = 1,
    scale: float | None = None,
    seed: int = 0,
    scores: Scores | None = None,
) -> Problem:
    """A problem of normally distributed numbers, equal on every machine and device.

    `v_head_size`, that of v, defaults to `head_size`, and `scale` to head_size ** -0.5.
    """
    mask = torch.as_tensor(mask)
    (n_q, n_k), generator = mask.shape[-2:], torch.Generator().manual_seed(seed)

    def normal(*shape: int, kind: torch.dtype = dtype) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, kind)

    queries, keys = (batch, heads, n_q), (batch, heads if kv_heads is None else kv_heads, n_k)
    v_size = head_size if v_head_size is None else v_head_size
    shapes = (queries, head_size), (keys, head_size), (keys, v_size), (queries, v_size)
    q, k, v, g = (normal(*shape, size) for shape, size in shapes)
    dlse = normal(*queries, kind=torch.promote_types(dtype, torch.float32))
    return Problem(mask.to(device), q, k, v, g, dlse, head_size**-0.5 if scale is None else scale, scores)


def dense(problem: Problem) -> Results:
    """The exact results, in float64.  A query without keys gets 0, a log-sum-exp of -inf and zero gradient."""
    return _attention(problem, torch.float64)


def run(attend: Callable, problem: Problem, q_offset: int | None = None) -> Results:
    """What an operator makes of the problem, forward and backward; the mask is not looked at."""
    inputs = [x.detach().requires_grad_() for x in (problem.q, problem.k, problem.v)]
    out, lse = attend(*inputs, scale=problem.scale, q_offset=q_offset, return_lse=True)
    given = [(out, problem.g)] if problem.dlse is None else [(out, problem.g), (lse, problem.dlse)]
    gradients = torch.autograd.grad([x for x, _ in given], inputs, [g for _, g in given])
    return Results(out.detach(), lse.detach(), *gradients)


def compare(results: Results, problem: Problem) -> list[Comparison]:
    """Every result's error beside its bound.  A wrong shape is an infinite error, a NaN one that never holds.

    bound = 2 x the error of dense attention in the operator's dtype, with the probabilities and their gradients
    rounded to it before they enter a product, as kernels do
    + one rounding of the largest result + 8 roundings of every term of its sums, which are float32 at least.
    float32 on a GPU holds the bound where torch.get_float32_matmul_precision() is "highest", the default.
    """
    dtype = problem.q.dtype
    exact, low, steps = dense(problem), _attention(problem, dtype), _roundings(problem)
    sums = torch.finfo(torch.promote_types(dtype, torch.float32)).eps
    found = []
    for field in fields(Results):
        got, true, near, step = (getattr(x, field.name) for x in (results, exact, low, steps))
        result_eps = sums if field.name == "lse" else torch.finfo(dtype).eps
        finite = true.abs().nan_to_num(posinf=0.0)
        bound = 2 * _largest(near, true) + result_eps * _most(finite) + 8 * sums * _most(step)
        found.append(Comparison(field.name, _largest(got, true), bound))
    return found


def check(
    attend: Attend,
    n_q: int,
    n_k: int,
    *,
    heads: int | None = None,
    kv_heads: int | None = None,
    head_size: int = 16,
    v_head_size: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    q_offset: int | None = None,
    scale: float | None = None,
    seed: int = 0,
    **inputs: Tensor,
) -> list[Comparison]:
    """Run an operator of `sparsec.load` or `sparsec.compile` on random numbers; compare it with dense attention.

    `heads` defaults to the number that the pattern is bound to, or 2; `inputs` are those of the pattern, of a batch of
    as many rows as they have.  Raises AssertionError where an error is larger than its bound; returns the comparisons,
    forward and all gradients.  What the pattern chooses itself is compared with what it has to choose, first.
    """
    nodes = attend.pattern.nodes
    given = [each for each in (*nodes.inputs, *nodes.score_inputs, *nodes.choice_inputs) if each.name in inputs]
    axes = {axis: size for each in given for axis, size in zip(each.axes, inputs[each.name].shape, strict=True)}
    heads = heads or attend.pattern.heads or axes.get("H", 2)
    numbers = {"heads": heads, "kv_heads": kv_heads, "batch": axes.get("B", 1)}
    numbers |= {"head_size": head_size, "v_head_size": v_head_size}
    queries = np.arange(n_q) + (n_k - n_q if q_offset is None else q_offset)
    scores = scores_of(nodes, heads, queries, inputs)

    def made(mask: Tensor | np.ndarray) -> Problem:
        return random_problem(mask, **numbers, dtype=dtype, device=device, scale=scale, seed=seed, scores=scores)

    chosen: dict = {}
    if any(each.choice for each in nodes.inputs):
        problem = made(torch.ones(n_q, n_k, dtype=torch.bool))
        first = n_k - n_q if q_offset is None else q_offset
        chosen = checked_choices(attend.choices, nodes, problem.q, problem.k, problem.scale, first, inputs)
        axes["B"] = len(problem.q)
    of_pairs = {name: x for name, x in inputs.items() if name in {each.name for each in nodes.inputs}}
    mask = attend.pattern.mask(n_q, n_k, q_offset=q_offset, **of_pairs, **chosen)
    if "B" in axes and mask.ndim == 3:
        mask = mask[:, None]  # the same for all heads
    if mask.ndim == 4 and mask.shape[1] not in (1, heads):
        mask = mask.repeat(heads // mask.shape[1], 1)  # lists that the query heads of a key head share
    problem = made(mask)
    found = compare(run(partial(attend, **inputs) if inputs else attend, problem, q_offset), problem)
    assert all(each.holds for each in found), "not dense attention: " + ", ".join(map(str, found))
    return found


# ---------------------------------------------------------------- the formulas


def _attention(problem: Problem, dtype: torch.dtype) -> Results:
    """Softmax attention with operands of products and results in `dtype`, everything else in at least float32."""
    work = torch.promote_types(dtype, torch.float32)

    def low(x: Tensor) -> Tensor:
        return x.to(dtype).to(work)

    q, k, v, g = _spread(problem, work)
    products = q @ k.mT * problem.scale
    s = products if problem.scores is None else problem.scores.of(products)
    s = s.masked_fill(~problem.mask, float("-inf"))
    m = s.amax(3, keepdim=True).clamp(min=torch.finfo(s.dtype).min)  # finite, so that exp(-inf - m) is 0 and never NaN
    e = (s - m).exp()
    total = e.sum(3, keepdim=True)
    out = low(low(e) @ v / total.where(total > 0, 1.0))
    lse = m + total.log()
    p = (s - lse.masked_fill(lse == float("-inf"), 0.0)).exp()
    delta = (out * g).sum(3, keepdim=True)
    if problem.dlse is not None:
        delta = delta - problem.dlse.to(work)[..., None]
    ds = p * (g @ v.mT - delta)
    if problem.scores is not None:
        ds = (ds * problem.scores.slopes(products)).masked_fill(p == 0, 0.0)  # whatever the slope is where no weight is
    ds = low(ds)
    dk, dv = _gather(ds.mT @ q, problem) * problem.scale, _gather(low(p).mT @ g, problem)
    return Results(out, lse.squeeze(3), low(ds @ k * problem.scale), low(dk), low(dv))


def _roundings(problem: Problem) -> Results:
    """What one unit of relative rounding in every term of every sum may add up to, in float64.

    Roundings are independent, so they add up like a random walk: to the root of the sum of the squared terms.  A
    probability's relative error is that of its exponent, so it counts 1 + |s| times.
    """
    q, k, v, g = _spread(problem, torch.float64)
    true = dense(problem)
    lse = true.lse.masked_fill(true.lse == float("-inf"), 0.0)[..., None]
    products = q @ k.mT * problem.scale
    s = products if problem.scores is None else problem.scores.of(products)
    p = (s.masked_fill(~problem.mask, float("-inf")) - lse).exp()
    q2, k2, v2, g2, scale2 = q**2, k**2, v**2, g**2, problem.scale**2
    exponent = (q2 @ k2.mT * scale2).sqrt()
    slopes = None if problem.scores is None else problem.scores.slopes(products).masked_fill(p == 0, 0.0)
    if slopes is not None:
        exponent = s.masked_fill(p == 0, 0.0).abs() + slopes.abs() * exponent
    p2 = (p * (1 + exponent)) ** 2
    delta2 = (p2 @ v2 * g2).sum(3, keepdim=True)
    if problem.dlse is not None:
        delta2 = delta2 + (problem.dlse**2)[..., None]
    ds2 = p2 * (g2 @ v2.mT + delta2)
    if slopes is not None:
        ds2 = ds2 * (1 + slopes**2)  # slopes are differences: what is rounded may be 1 where they are 0
    dk2, dv2 = _gather(ds2.mT @ q2, problem) * scale2, _gather(p2.mT @ g2, problem)
    squares = p2 @ v2, p2.sum(3), ds2 @ k2 * scale2, dk2, dv2
    return Results(*(x.sqrt() for x in squares))


def _spread(problem: Problem, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q, k, v, g in `dtype`, the key heads repeated to [B, H, n_k, D]."""
    group = problem.q.shape[1] // problem.k.shape[1]
    q, k, v, g = (x.to(dtype) for x in (problem.q, problem.k, problem.v, problem.g))
    return q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1), g


def _gather(x: Tensor, problem: Problem) -> Tensor:
    """[B, H, n_k, D] summed over the query heads of each key head."""
    return x.unflatten(1, (problem.k.shape[1], -1)).sum(2)


def _largest(got: Tensor, true: Tensor) -> float:
    """The largest difference; equal infinities do not differ."""
    if got.shape != true.shape:
        return float("inf")
    return _most(torch.where(got == true, 0.0, (got.to(true.dtype) - true).abs()))


def _most(x: Tensor) -> float:
    return x.max().item() if x.numel() else 0.0
