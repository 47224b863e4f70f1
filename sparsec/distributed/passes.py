"""The forward and the backward pass of a rank: its own keys while others are under way, then the received ones.

Results of steps join as one softmax: each has its share of the common sum of exponentials.  Backward, every step takes
the common result and log-sum-exp, so that its weights are those of the whole row, and gradients just add up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
import torch.distributed as dist
from torch import Tensor

from sparsec.analysis.touch import Segment
from sparsec.distributed import exchange
from sparsec.distributed.data import Data, given_inputs, of_step, positions_of
from sparsec.distributed.exchange import Rows
from sparsec.distributed.forms import Run, Step, Steps
from sparsec.distributed.kernels import join_rows
from sparsec.kernels.machine.memory import empty_as, lying_as
from sparsec.kernels.program.inputs import part_of
from sparsec.kernels.sequences.sequences import table_lines
from sparsec.kernels.weights.sinks import with_sinks

_NEVER = float("-inf")


@dataclass(frozen=True)
class Part:
    """What a rank does in calls of some lengths, batch and key heads."""

    steps: Steps
    rows: Rows
    ends: tuple[int, ...]  # of documents
    batch: int
    heads: int  # key heads
    sends: bool  # whether any rank needs a key of another
    group: dist.ProcessGroup
    tables: dict[tuple, Tensor] = field(default_factory=dict)

    def table(self, step: Step, device: torch.device) -> Tensor | None:
        """The sequences of a step, as packed calls have them; None where it has none."""
        if not step.lines:
            return None
        key = step.rows, step.run, device
        if key not in self.tables:
            lines = [(row, *line) for row in range(self.batch) for line in step.lines]
            lines += [(0,) * 7] * (table_lines(len(lines)) - len(lines))  # as kernels want it, once for all calls
            self.tables[key] = torch.tensor(lines, dtype=torch.int32, device=device)
        return self.tables[key]

    def edges(self, step: Step, device: torch.device) -> list[Tensor]:
        """Between which positions the keys of a step stand, as its operator takes it; none where it has all."""
        found = []
        for edge in step.keys or ():
            if (edge, device) not in self.tables:
                self.tables[edge, device] = torch.full((1, 1, 1), edge, dtype=torch.int32, device=device)
            found.append(self.tables[edge, device])
        return found


def forward(
    part: Part, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, scale: float, data: Data
) -> tuple[Tensor, Tensor, Tensor]:
    """out [B, H, n_q, D_v], the log-sum-exp [B, H, n_q], and the rows that were received, which backward takes."""
    underway = exchange.start_keys(part.rows, k, v, part.group if part.sends else None)
    results: list[tuple[Segment, tuple[Tensor, Tensor]]] = []
    for number, steps in _by_run(part):
        keys = _keys_of(part, number, k, v, underway)
        for step in steps:
            own_q = q[:, :, slice(*step.rows)]
            rest = of_step(part, step, data, own_q, keys[0], scale)
            found = step.form.operator.forward(own_q, *keys, None, *rest)
            results.append((step.rows, found))
    out, lse = _on_rows(results, q.shape[2], lambda: _no_key(q, v))
    if sinks is not None:
        out, lse = with_sinks(out, lse, sinks)
    return lying_as(out.to(q.dtype), q), lse.contiguous(), underway.wait()


def backward(
    part: Part, g: Tensor, dlse: Tensor | None, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
    received: Tensor, scale: float, data: Data, of_reals: bool,
) -> list[Tensor]:  # fmt: skip
    """The gradients of q, k and v; those of keys of other ranks travel while own keys are worked on.

    `of_reals`: then those of float inputs, too, of this rank's rows: [B, H or 1, entries].
    """
    reals = [x.new_zeros(q.shape[0], *x.shape[1:]) for x in data.reals] if of_reals else []
    of_queries: list[tuple[Segment, tuple[Tensor, ...]]] = []
    of_keys: list[tuple[Segment, tuple[Tensor, ...]]] = []
    away: list[tuple[Tensor, ...]] = []

    def run_through(number: int, steps: Sequence[Step]) -> tuple[Tensor, ...]:
        keys, sums = _keys_of(part, number, k, v, received), []
        for step in steps:
            own = [None if x is None else x[:, :, slice(*step.rows)] for x in (g, q, out, lse, dlse)]
            tensors = own[0], own[1], *keys, own[2], own[3], own[4]
            rest = of_step(part, step, data, tensors[1], keys[0], scale)
            dq, *of_run = step.form.operator.backward(*tensors, *rest)
            if reals:
                _add_to_reals(reals, part, step, step.form.operator.reals(*tensors, *rest))
            of_queries.append((step.rows, (dq,)))
            sums.append(tuple(of_run))
        return sums[0] if len(sums) == 1 else _added(sums)

    by_run = _by_run(part)
    for number, steps in by_run:
        if part.steps.runs[number].received:
            away.append(run_through(number, steps))
            of_keys += _of_own(part.steps.runs[number], away[-1])
    dk_away, dv_away = [dk for dk, _ in away], [dv for _, dv in away]
    underway = exchange.start_gradients(part.rows, dk_away, dv_away, k, v, part.group if part.sends else None)
    for number, steps in by_run:
        if not part.steps.runs[number].received:
            of_keys += _of_own(part.steps.runs[number], run_through(number, steps))
    (dq,) = _on_rows(of_queries, q.shape[2], lambda: (empty_as(q).zero_(),))
    dk, dv = _on_rows(of_keys, k.shape[2], lambda: (empty_as(k).zero_(), empty_as(k, v.shape[3]).zero_()))
    back = underway.wait()
    if part.sends:
        for x, some in zip((dk, dv), back.split([dk.shape[3], dv.shape[3]], 1), strict=True):
            exchange.add_gradients(part.rows, x, some)
    return [lying_as(dq, q), lying_as(dk, k), lying_as(dv, k), *reals]


def _of_own(run: Run, found: tuple[Tensor, ...]) -> list[tuple[Segment, tuple[Tensor, ...]]]:
    """Of the gradients of a run those of the rank's own keys, with their rows."""
    return [(rows, tuple(x[:, :, slice(*place)] for x in found)) for rows, place in run.own]


def _add_to_reals(sums: Sequence[Tensor], part: Part, step: Step, found: Sequence[Tensor]) -> None:
    """Add the gradients of float inputs that a step has to those of the whole sequence."""
    declared = given_inputs(step.form.operator.program)[-len(sums) :]
    keys = positions_of(part.steps.runs[step.run])
    for own, total, some in zip(declared, sums, found, strict=True):
        into = part_of(own, total, keys) if own.has_entries else total
        into += some.view(into.shape)


def _no_key(q: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The result of rows that see nothing."""
    exact = torch.promote_types(q.dtype, torch.float32)
    return empty_as(q, v.shape[3]).zero_(), q.new_full(q.shape[:3], _NEVER, dtype=exact)


def _by_run(part: Part) -> list[tuple[int, list[Step]]]:
    """The steps of each run, received ones last."""
    return [
        (number, [step for step in part.steps.steps if step.run == number]) for number in range(len(part.steps.runs))
    ]


def _keys_of(
    part: Part, number: int, k: Tensor, v: Tensor, received: Tensor | exchange.Underway
) -> tuple[Tensor, Tensor]:
    """K and V of a run; what is under way is waited for where it is needed."""
    run, place = part.steps.runs[number], part.rows.placed[number]
    if run.rows is not None:
        return k[:, :, slice(*run.rows)], v[:, :, slice(*run.rows)]
    if place is None:
        found = k.new_zeros(*k.shape[:2], run.length, k.shape[3]), v.new_zeros(*v.shape[:2], run.length, v.shape[3])
    else:
        rows = received if isinstance(received, Tensor) else received.wait()
        found = exchange.placed_keys(rows, place, k, v)
    for own, at in run.own:
        for into, x in zip(found, (k, v), strict=True):
            into[:, :, slice(*at)] = x[:, :, slice(*own)]
    return found


# ---------------------------------------------------------------- results on the same rows


def _on_rows(
    parts: Sequence[tuple[Segment, tuple[Tensor, ...]]], length: int, nothing: Callable[[], tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """Tensors [B, H, length, D] out of parts of their rows, those on the same rows added; `nothing` for none.

    Results with a log-sum-exp (of one dimension less) join as one softmax.  The order is that of the parts, but for one
    that has all rows: it comes first, and is written into.
    """
    base = next((found for rows, found in parts if rows == (0, length)), None)
    whole = nothing() if base is None else base
    edges = sorted({edge for rows, _ in parts for edge in rows})
    for first, stop in pairwise(edges):
        into = tuple(x[:, :, first:stop] for x in whole)
        there = [
            tuple(x[:, :, first - rows[0] : stop - rows[0]] for x in found)
            for rows, found in parts
            if rows[0] <= first and stop <= rows[1] and found is not base
        ]
        if base is None and there:
            _write(into, there.pop(0))
        if there:
            _put_together(into, there)
    return whole


def _put_together(into: tuple[Tensor, ...], parts: Sequence[tuple[Tensor, ...]]) -> None:
    softmax = into[0].dim() > into[-1].dim()
    if len(parts) > 1 or not into[0].is_cuda:
        _write(into, (_joined if softmax else _added)([into, *parts]))
    elif softmax:
        join_rows(into[0], parts[0][0], into[1], parts[0][1])
    else:
        for x, more in zip(into, parts[0], strict=True):
            join_rows(x, more, None, None)


def _write(into: tuple[Tensor, ...], found: tuple[Tensor, ...]) -> None:
    for x, new in zip(into, found, strict=True):
        x.copy_(new)


def _joined(parts: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, Tensor]:
    """Results and log-sum-exps of one softmax, from those of disjoint keys."""
    total = torch.stack([lse for _, lse in parts]).logsumexp(0)
    joined = torch.zeros((), dtype=total.dtype, device=total.device)
    for out, lse in parts:
        share = torch.where(lse == _NEVER, 0.0, torch.exp(lse - total))[..., None]
        joined = joined + out * share
    return joined, total


def _added(parts: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Sums in float32 or better, in the order of the parts."""
    found = []
    for some in zip(*parts, strict=True):
        exact = torch.promote_types(some[0].dtype, torch.float32)
        total = some[0].to(exact)
        for x in some[1:]:
            total = total + x
        found.append(total.to(some[0].dtype))
    return tuple(found)
