"""The table of a call's sequences, from its documents, lengths and offsets: by kernels on a GPU, by torch elsewhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.launches.launch import Environment, Meta, Pass, Slot, remember
from sparsec.kernels.machine.memory import as_contiguous
from sparsec.kernels.program.program import Program, cdiv
from sparsec.kernels.sequences.positions import Positions, has_values
from sparsec.kernels.sequences.sequences import of_documents, of_rows, of_starts, table_lines
from sparsec.kernels.sequences.table_kernels import count_starts, write_documents, write_rows, write_starts

_LINES_AT_ONCE = 128
_TOKENS_AT_ONCE = 1024
_LINES_BESIDES = 3  # of the table of documents, more than cu_seqlens have entries
_OF_ROWS = "LENGTHS", "Q_LENGTHS", "Q_OFFSETS", "K_OFFSETS"
TENSORS = dict(
    zip(("documents", "lengths", "q_lengths", "q_offset", "k_offset"), ("DOCUMENTS", *_OF_ROWS), strict=True)
)


def sequence_table(program: Program, positions: Positions, q: Tensor, k: Tensor) -> Tensor:
    """The table for positions that have been checked."""
    if q.is_cuda and q.numel() and all(has_values(x) for x in positions if isinstance(x, Tensor)):
        return table_pass(program, positions, q, k)(table_inputs(positions))["SEQUENCES"]
    documents, n_q, n_k = positions.documents, q.shape[2], k.shape[2]
    if documents is None:
        offsets = positions.q_offset, positions.k_offset
        return of_rows(q.shape[0], n_q, n_k, q.device, positions.lengths, positions.q_lengths, *offsets)
    return of_starts(documents) if documents.dim() == 2 else of_documents(documents, n_k)


def table_inputs(positions: Positions) -> Environment:
    """What the kernels read, by name: tensors from a multiple of 16 bytes on, as those that they were compiled for."""
    given = positions._asdict()
    found: Environment = {TENSORS[name]: as_contiguous(x) for name, x in given.items() if isinstance(x, Tensor)}
    for name in ("q_offset", "k_offset"):
        found[name] = given[name] if isinstance(given[name], int) else 0
    documents = positions.documents
    return found | ({"documents": len(documents) - 1} if isinstance(documents, Tensor) and documents.dim() == 1 else {})


def lines_of(cu_seqlens: Tensor) -> int:
    """Lines of the table of documents that cu_seqlens name: the same for many numbers of documents."""
    return table_lines(cu_seqlens.shape[0] + _LINES_BESIDES)


def numbers_of_entries(lines: int) -> range:
    """How many entries cu_seqlens have whose table has so many lines."""
    fewest = lines // 2 + 1 if table_lines(1) < lines else 1
    return range(max(fewest - _LINES_BESIDES, 1), lines - _LINES_BESIDES + 1)


def table_pass(program: Program, positions: Positions, q: Tensor, k: Tensor) -> Pass:
    """The kernels that write the table SEQUENCES for such positions and tensors; none of their numbers decides it."""
    kinds: tuple = tuple((x.shape, x.dtype) if isinstance(x, Tensor) else type(x) for x in positions)
    if positions.documents is not None and positions.documents.dim() == 1:
        kinds = lines_of(positions.documents), positions.documents.dtype
    key = "table", kinds, q.shape[0], q.shape[2], k.shape[2], q.device
    run = program.passes.get(key)
    if run is None:
        metas = {name: Meta.of(x) for name, x in table_inputs(positions).items() if isinstance(x, Tensor)}
        run = remember(program, key, Pass(program, Q=Meta.of(q), **metas))
        if positions.documents is None:
            _launch_rows(run, positions, q.shape[0], q.shape[2], k.shape[2])
        elif positions.documents.dim() == 2:
            _launch_starts(run, *positions.documents.shape)
        else:
            _launch_documents(run, lines_of(positions.documents), k.shape[2])
    return run


def _launch_documents(run: Pass, lines: int, length: int) -> None:
    _room(run, lines)
    values: Environment = {"CU_SEQLENS": Slot("DOCUMENTS"), "documents": Slot("documents"), "length": length}
    _launch_writer(run, write_documents, values | {"lines": lines}, lines)


def _launch_rows(run: Pass, positions: Positions, batch: int, n_q: int, n_k: int) -> None:
    lines = _room(run, 5 * batch)
    values: Environment = {name: Slot(name) if name in run.metas else None for name in _OF_ROWS}
    values |= {"batch": batch, "n_q": n_q, "n_k": n_k, "q_offset": Slot("q_offset"), "k_offset": Slot("k_offset")}
    alone = positions.q_offset is None and positions.q_lengths is None
    values |= {"SAME": alone and n_q == n_k, "AT_THE_END": positions.q_offset is None}
    _launch_writer(run, write_rows, values | {"lines": lines}, lines)


def _launch_starts(run: Pass, batch: int, length: int) -> None:
    tokens = batch * length
    lines = _room(run, tokens)
    programs = cdiv(lines, _TOKENS_AT_ONCE)
    for name in ("COUNTS", "LASTS"):
        run.scratch(name, (programs,), torch.int32)
    values: Environment = {"START": Slot("DOCUMENTS"), "COUNTS": Slot("COUNTS"), "LASTS": Slot("LASTS")}
    values |= {"tokens": tokens, "length": length, "lines": lines, "AT_ONCE": _TOKENS_AT_ONCE}
    for kernel in (count_starts, write_starts):
        run.launch(kernel, (programs, 1, 1), values | {"SEQUENCES": Slot("SEQUENCES")})


def _room(run: Pass, lines: int) -> int:
    """Room for a table of that many lines and what it is padded with; how many in all."""
    run.empty("SEQUENCES", (table_lines(lines), 7), torch.int32)
    return table_lines(lines)


def _launch_writer(run: Pass, kernel: Any, values: Environment, lines: int) -> None:
    values |= {"SEQUENCES": Slot("SEQUENCES"), "AT_ONCE": _LINES_AT_ONCE}
    run.launch(kernel, (cdiv(lines, _LINES_AT_ONCE), 1, 1), values)
