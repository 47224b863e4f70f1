"""What a sharded call has besides queries, keys and values: inputs, dropout, and documents that the device knows.

All of it is about the whole sequence and the same on every rank; a step takes its part.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from sparsec.analysis.touch import Segment
from sparsec.distributed.forms import Run, Step
from sparsec.kernels.program.inputs import Input, part_of
from sparsec.kernels.program.program import Program, cdiv

if TYPE_CHECKING:
    from sparsec.distributed.passes import Part


class Data(NamedTuple):
    """As operators take it, of the whole sequence.

    `streams` as of `kernels.dropout`, for rows of the batch, or for the lines of `sequences`, the table of documents.
    """

    inputs: list[Tensor]
    chosen_by: list[Tensor]
    sequences: Tensor | None
    streams: Tensor | None
    dropout_p: float
    deterministic: bool
    reals: list[Tensor]


class StepData(NamedTuple):
    """The last arguments of an operator, for one step."""

    sequences: Tensor | None
    inputs: list[Tensor]
    scale: float
    q_offset: int
    streams: Tensor | None
    dropout_p: float
    deterministic: bool
    reals: list[Tensor]


def of_step(part: Part, step: Step, data: Data, q: Tensor, k: Tensor, scale: float) -> StepData:
    """What belongs to a step, of queries q and the keys k of its run."""
    operator, run = step.form.operator, part.steps.runs[step.run]
    declared = given_inputs(operator.program)
    keys = positions_of(run)
    inputs = [_own_entries(own, x, step, keys) for own, x in zip(declared, data.inputs, strict=False)]
    inputs += part.edges(step, q.device)
    reals = [_own_entries(own, x, step, keys) for own, x in zip(declared[len(inputs) :], data.reals, strict=True)]
    if any(own.choice for own in operator.program.inputs):
        reads = zip(operator.program.choice_inputs, data.chosen_by, strict=True)
        chosen_by = [_own_entries(own, x, step, keys).detach() for own, x in reads]
        inputs += operator.choose(q.detach(), k.detach(), chosen_by, scale, step.q_offset)
    if data.sequences is not None:
        sequences = part_of_table(data.sequences, (step.position, step.position + q.shape[2]), keys)
        return StepData(sequences, inputs, scale, 0, data.streams, data.dropout_p, data.deterministic, reals)
    table = part.table(step, q.device)
    streams = None if data.streams is None else _streams(part.ends, run, data.streams, table)
    return StepData(table, inputs, scale, step.q_offset, streams, data.dropout_p, data.deterministic, reals)


def given_inputs(program: Program) -> list[Input]:
    """The inputs of conditions and scores that a call passes."""
    return [own for own in program.inputs if own.choice is None]


def positions_of(run: Run) -> slice:
    """Where the keys of a run stand in the whole row."""
    begin = run.document[0]
    return slice(begin + run.first, begin + run.stop)


def _own_entries(own: Input, x: Tensor, step: Step, keys: slice) -> Tensor:
    if own.by_row or own.kind == "scores":
        rows, first = own.sizes[0], step.position
        return x[:, :, first // rows : cdiv(first + step.rows[1] - step.rows[0], rows)]
    return part_of(own, x, keys).flatten(2) if own.has_entries else x


def _streams(ends: tuple[int, ...], run: Run, streams: Tensor, table: Tensor | None) -> Tensor:
    """Of the rows of the batch in the document of a run: documents of all rows are numbered one row after the other."""
    if len(ends) > 2:
        seed, row = streams.unbind(1)
        streams = torch.stack([seed, row * (len(ends) - 1) + bisect_right(ends, run.document[0]) - 1], 1)
    more = 0 if table is None else table.shape[0] - streams.shape[0]
    return torch.nn.functional.pad(streams, (0, 0, 0, more)) if more else streams


def part_of_table(table: Tensor, queries: Segment, keys: slice) -> Tensor:
    """The table of sequences where only some of the queries and some of the keys are there, line by line."""
    row, q_first, n_q, k_first, k_begin, n, q_offset = table.unbind(1)
    k_last = k_first + n - k_begin
    q0, q1 = (x.clamp(*queries) for x in (q_first, q_first + n_q))
    k0, k1 = (x.clamp(keys.start, keys.stop) for x in (k_first, k_last))
    begin, stop, position = k_begin + k0 - k_first, n - (k_last - k1), q_offset + q0 - q_first
    numbers = (x.clamp(min=0) for x in (begin, stop, position))  # below 0 where nothing of a line is there
    return torch.stack([row, q0 - queries[0], q1 - q0, k0 - keys.start, *numbers], 1)
