"""Attention weights of a few rows, and the share of dense attention's weight that a pattern keeps, to look at."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from sparsec.ir import nodes as ir
from sparsec.ir.inputs import read_by_scores
from sparsec.kernels.program.inputs import Input, checked_inputs
from sparsec.kernels.program.program import Program
from sparsec.kernels.sequences.inputs import FirstLists, input_alone
from sparsec.kernels.sequences.sequences import known
from sparsec.runtime.given import rows_of_mask

_CAUSAL = ir.Compare(ir.Var("k"), "<=", ir.Var("q"))


def weights(
    pattern: ir.Pattern,
    q: Tensor,
    k: Tensor,
    lse: Tensor,
    rows: int | Sequence[int] | Tensor,
    scale: float | None,
    q_offset: int | None,
    inputs: Mapping[str, Tensor],
    k_begin: int = 0,
) -> Tensor:
    """As of `Attend.weights`, for q and k of a call that was checked; `inputs` hold what the operator chooses, too.

    `k_begin`: the position of the first key of k.
    """
    _check_lse(lse, q)
    (batch, heads, n_q, size), (kv_heads, keys) = q.shape, k.shape[1:3]
    chosen, n = _row_numbers(rows, n_q), k_begin + keys
    if q_offset is None and n_q > n:
        raise ValueError(f"[SP0605] {n_q} queries are more than {n} keys: say where they stand with q_offset")
    offset = n - n_q if q_offset is None else q_offset
    scored = {each.name: inputs[each.name] for each in read_by_scores(pattern) if each.name in inputs}
    not_of_sets = {each.name for each in (*pattern.score_inputs, *pattern.choice_inputs)}
    inputs = {name: x for name, x in inputs.items() if name not in not_of_sets}
    kept = rows_of_mask(pattern, chosen.numpy() + offset, n, n_q, offset, inputs)[..., k_begin:]
    chosen = chosen.to(q.device)
    some = q.index_select(2, chosen).float().view(batch, kv_heads, -1, size)  # the rows of a group beside each other
    s = (some @ k.float().mT).view(batch, heads, len(chosen), keys) * (size**-0.5 if scale is None else scale)
    s = _scored(pattern, s, chosen, offset, k_begin, scored)
    found = torch.exp(s - lse.index_select(2, chosen)[..., None].float())
    of_heads = torch.from_numpy(kept).to(q.device)
    of_heads = of_heads.repeat_interleave(heads // of_heads.shape[1], 1)  # lists may be those of key heads
    return torch.where(of_heads, found, 0.0)


def weights_of_sequences(
    pattern: ir.Pattern,
    program: Program,
    table: Tensor,
    packed: bool,
    q: Tensor,
    k: Tensor,
    lse: Tensor,
    rows: int | Sequence[int] | Tensor,
    scale: float | None,
    inputs: Mapping[str, Tensor],
) -> Tensor:
    """As `weights`, of the sequences of a table; `packed`: documents.  Each is looked at alone, as its meaning is."""
    _check_lse(lse, q)
    n_q, chosen = q.shape[2], _row_numbers(rows, q.shape[2])
    made = {each.name for each in program.inputs if each.choice}
    reals = {each.name for each in program.choice_inputs}
    given = {name: x for name, x in inputs.items() if name not in made | reals}
    checked = iter(checked_inputs(program.inputs, given, q, k, documents=packed))
    data = [inputs[each.name] if each.choice else next(checked) for each in program.inputs]
    found = torch.zeros(*q.shape[:2], len(chosen), k.shape[2], device=q.device)
    lines = known(table)
    first_lists = FirstLists(lines)
    for line in lines:
        own = ((chosen >= line.q_first) & (chosen < line.q_first + line.n_q)).nonzero()[:, 0]
        if len(own) == 0:
            continue
        alone = zip(program.inputs, data, strict=True)
        some = {each.name: _declared(each, input_alone(each, x, line, first_lists, n_q)) for each, x in alone}
        at, queries = slice(line.row, line.row + 1), slice(line.q_first, line.q_first + line.n_q)
        keys = slice(line.k_first, line.k_first + line.n - line.k_begin)
        of_line = q[at, :, queries], k[at, :, keys], lse[at, :, queries], chosen[own] - line.q_first
        made_of_line = weights(pattern, *of_line, scale, line.q_offset, some, line.k_begin)
        found[line.row, :, own.to(q.device), keys] = made_of_line[0]
    return found


def _declared(own: Input, x: Tensor) -> Tensor:
    """A checked input of one sequence with the axes of its declaration."""
    if own.has_groups or own.kind == "labels":
        return x
    x = x.unflatten(-1, (math.isqrt(x.shape[-1]),) * 2) if own.of_pairs else x if own.has_entries else x[..., 0]
    x = x if "H" in own.axes else x[:, 0]
    return x if "B" in own.axes else x[0]


def _check_lse(lse: Tensor, q: Tensor) -> None:
    if not isinstance(lse, Tensor) or lse.shape != q.shape[:3]:
        found = list(lse.shape) if isinstance(lse, Tensor) else type(lse).__name__
        raise ValueError(f"[SP0601] lse must be the log-sum-exp of the call, {list(q.shape[:3])}, got {found}")


def share(own: Tensor, dense: Tensor) -> Tensor:
    """Of the log-sum-exps of two calls, exp(own - dense): at most 1, and 0 for rows that have no key in either."""
    return torch.where(own == -torch.inf, 0.0, (own - dense).exp().clamp(max=1.0))


@lru_cache(maxsize=32)
def dense(pattern: ir.Pattern, causal: bool | None = None) -> Callable[..., Any]:
    """Attention with the scores of a pattern over all keys, or over those up to the query where it sees no later ones.

    `causal`: whether it sees later ones; None: by head, where the head's own condition is not known to be causal.
    """
    from sparsec.analysis.facts import is_causal  # the compiler, which calls don't need
    from sparsec.codegen.emit import emit, function_name
    from sparsec.plan.build import build
    from sparsec.runtime.module import module

    looks_back = [is_causal(each) if causal is None else causal for each in pattern.conditions]
    conditions = tuple(_CAUSAL if each else ir.TRUE for each in looks_back)
    name, read = f"{pattern.name}_dense", read_by_scores(pattern)
    whole = replace(pattern, name=name, conditions=conditions, inputs=(), score_inputs=read, choice_inputs=())
    text = emit(build(whole))
    name = function_name(whole.name)
    return getattr(module(text, f"sparsec_{name}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"), name)


def _scored(
    pattern: ir.Pattern, s: Tensor, rows: Tensor, offset: int, k_begin: int, inputs: Mapping[str, Tensor]
) -> Tensor:
    from sparsec.runtime.flex_scores import score_mod

    batch, heads, _, n = s.shape
    score = score_mod(pattern, k_begin + n, heads, s.device, offset, inputs)
    if score is None:
        return s
    index = [torch.arange(size, device=s.device) for size in (batch, heads, n)]
    b, h, keys = index[0][:, None, None, None], index[1][:, None, None], k_begin + index[2]
    return score(s, b, h, rows[:, None], keys).expand_as(s)


def _row_numbers(rows: int | Sequence[int] | Tensor, n_q: int) -> Tensor:
    """Int64 [rows] on the CPU."""
    try:
        found = torch.as_tensor(rows).reshape(-1).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"[SP0606] rows must be numbers of queries, 0 .. {n_q - 1}, got {rows!r}") from error
    if found.numel() and (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool):
        raise ValueError(f"[SP0606] rows must be numbers of queries, 0 .. {n_q - 1}, got {found.dtype}")
    found = found.long()
    if found.numel() and not 0 <= int(found.min()) <= int(found.max()) < n_q:
        wrong = found[(found < 0) | (found >= n_q)][0]
        raise ValueError(f"[SP0606] rows must be numbers of queries, 0 .. {n_q - 1}, got {int(wrong)}")
    return found
