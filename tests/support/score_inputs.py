"""Patterns whose scores read inputs, and data for these."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.ir import reference
from sparsec.ir.inputs import of_row, read_by_scores
from sparsec.ir.nodes import Pattern
from sparsec.runtime.flex_scores import score_mod
from support.generated import pattern_of

_DECLARED = """
input table: float[H, d]
input near: float[t]
input slope: float[H]
input bias: float[B, n]
input whole: float[H, n, n]
input temperature: float
input doc: int[B, n]
input time: int[n]
input special: bool[B, n]
input width: int[H]
input shift: int
input listed: int[H, t]
"""
_SCORES = """
score all = (s + table[min(abs(q - k), 9)] - slope * abs(q - k) + 0.5 * bias[k] + tanh(bias[q] * s) +
    whole[q, k]) * temperature
score pairs = s + whole[q, k] + whole[k, q] * near[(q * 3 + k) % 7]
score relative = s * exp(0.1 * table[(q - k) // 4]) + bias[k // 2]
score by_document = (s + table[doc[q] - doc[k] + width] + bias[time[k]] * near[doc[k - 1]] -
    slope * abs(time[q] - time[k])
    if doc[q] == doc[k] | k in listed & ~special[q] else tanh(s) + near[min(listed[doc[q]], 5)] - doc[k] / 7)
score by_number = s * (1 + 0.1 * width) + whole[time[q], k] + table[q - k + shift]
score sloped = (s - slope * abs(q - k) if q - k < 9 else min(s, near[q // 8 - k // 8]))
"""
TEXTS = {
    name: f"{_DECLARED}{_SCORES}pattern p = {text}"
    for name, text in {
        "all": "past(12) | k < 2 & k <= q with all",
        "pairs": "causal & (q - k) % 3 != 1 with pairs",
        "heads": "match h { 0..2 -> past(9 + h) with sloped, 2 -> causal with alibi, else -> past(12) with relative }",
        "strided": "causal & (stride(4) | past(5)) with relative",
        "random": "random_keys(5, 1) | past(3) with sloped",
        "data": "causal & doc[q] == doc[k] with relative, sloped",
        "documents": "causal & (past(9) | special[k]) with by_document",
        "numbers": "match h { 0..2 -> past(9 + h) with by_number, else -> causal with by_document }",
    }.items()
}
BY_HEAD = ("heads", "numbers")  # texts that are bound to four heads


def drawn_inputs(
    pattern: Pattern, batch: int, heads: int, n: int, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> dict[str, torch.Tensor]:
    """Tensors for all inputs of a pattern of this file."""
    generator, sizes = torch.Generator().manual_seed(2), {"B": batch, "H": heads, "n": n, "d": 8, "t": 6}
    found = {}
    for own in (*pattern.inputs, *pattern.score_inputs):
        shape = [sizes[axis] for axis in own.axes]
        if own.kind == "float":
            found[own.name] = torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)
        else:
            number = torch.randint(-1, n, shape, generator=generator) if own.name == "time" else None
            number = torch.randint(0, 3, shape, generator=generator) if number is None else number
            found[own.name] = (number > 0 if own.kind == "bool" else number).to(device)
    return found


def dense(
    pattern: Pattern, q: Tensor, k: Tensor, v: Tensor, inputs: dict[str, Tensor], scale: float, q_offset: int,
    weigh: Callable[[Tensor], Tensor] = lambda weights: weights,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """out and the log-sum-exp over all pairs by torch's operators, which autograd differentiates.

    `weigh`: what becomes of the weights [B, H, n_q, n] before values are taken.
    """
    (batch, heads, n_q, _), n = q.shape, k.shape[2]
    arrays = {each.name: inputs[each.name].cpu().numpy() for each in pattern.inputs}
    conditions = [pattern.conditions[index] for index in pattern.head_conditions or (0,) * heads]
    kept = torch.stack(
        [
            torch.as_tensor(
                reference.mask(condition, n_q, n, q_offset, of_row(pattern.inputs, arrays, row, head, heads))
            )
            for row in range(batch)
            for head, condition in enumerate(conditions)
        ]
    ).view(batch, heads, n_q, n)
    reals = {each.name: inputs[each.name] for each in read_by_scores(pattern)}
    modified = score_mod(pattern, n, heads, q.device, q_offset, reals)
    k, v = (x.repeat_interleave(heads // x.shape[1], 1) for x in (k, v))
    s = q @ k.mT * scale
    places = [torch.arange(size, device=q.device) for size in s.shape]
    at = [place.view([-1 if axis == own else 1 for own in range(4)]) for axis, place in enumerate(places)]
    s = modified(s, *at).masked_fill(~kept.to(q.device), float("-inf"))
    lse = s.logsumexp(3)
    weights = (s - lse.masked_fill(lse == float("-inf"), 0.0)[..., None]).exp()
    return weigh(weights) @ v, lse


class Sequence(NamedTuple):
    """A sequence of a call, its queries and keys being the same tokens."""

    row: int  # of the batch
    first: int  # its tokens there
    stop: int
    position: int = 0  # of its first token; there are no keys before it


def dense_of_sequences(
    name: str, sequences: list[Sequence], q: Tensor, k: Tensor, v: Tensor, inputs: dict[str, Tensor], scale: float
) -> tuple[Tensor, Tensor]:
    """As `dense`, of a text of this file: of each sequence alone; other rows have no keys."""
    exact = torch.promote_types(q.dtype, torch.float32)
    outs, lses = torch.zeros_like(q), q.new_full(q.shape[:3], float("-inf"), dtype=exact)
    out_parts, lse_parts = [outs], [lses]
    head, score = TEXTS[name].split("pattern p = ")[0], TEXTS[name].split(" with ")[-1]
    condition = TEXTS[name].split("pattern p = ")[1].split(" with ")[0]
    for row, first, stop, position in sequences:
        pattern = pattern_of(f"{head}pattern p = ({condition}) & k >= {position} with {score}")
        tokens = slice(first, stop)
        own_k, own_v = (torch.nn.functional.pad(x[row : row + 1, :, tokens], (0, 0, position, 0)) for x in (k, v))
        own = {
            each.name: _of_sequence(each.axes, inputs[each.name], row, tokens, position)
            for each in (*pattern.inputs, *pattern.score_inputs)
        }
        out, lse = dense(pattern, q[row : row + 1, :, tokens], own_k, own_v, own, scale, position)
        before_behind = first, q.shape[2] - stop
        others = row, len(q) - row - 1
        out_parts.append(torch.nn.functional.pad(out, (0, 0, *before_behind, 0, 0, *others)))
        lse_parts.append(torch.nn.functional.pad(lse, (*before_behind, 0, 0, *others), value=float("-inf")))
    return torch.stack(out_parts).sum(0), torch.stack(lse_parts).amax(0)


def _of_sequence(axes: tuple[str, ...], x: Tensor, row: int, tokens: slice, position: int) -> Tensor:
    """What an input holds for a sequence, with entries of positions before it that nothing should read."""
    x = x[row : row + 1] if "B" in axes else x
    for place in [place for place, axis in enumerate(axes) if axis == "n"]:
        x = x.movedim(place, -1)[..., tokens]
        x = torch.nn.functional.pad(x, (position, 0)).movedim(-1, place)
    return x
