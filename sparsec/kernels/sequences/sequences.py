"""Sequences of a call: packed documents, rows of unequal length, positions that differ from row to row.

A table int32 [sequences, 7] on the device of the call has a line for each.  It is made by torch from what is given,
without a look at any number: so no call waits for the device, and no value decides what is compiled.

| column | is |
|---|---|
| row | row of the batch |
| q_first, n_q | its queries: rows q_first.. of Q |
| k_first | row of K and V where its first key is |
| k_begin | position of that key; keys before it are not there |
| n | number of keys of the sequence; the last one stands at position n - 1, in row k_first + n - k_begin - 1 |
| q_offset | position of its first query |

Rows of Q and K that belong to no sequence have lines of their own, without keys or without queries: every row of a
result is written by the line that has it.  Of a row of the batch, lines come in the order of their queries.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

_BEYOND = 1 << 30  # no row is as long
_LEAST_LINES = 16


def table_lines(lines: int) -> int:
    """Lines of a table with empty ones more: a power of two, so that other numbers of documents share passes."""
    return max(_LEAST_LINES, 1 << (lines - 1).bit_length())


class SequenceLine(NamedTuple):
    """A line of the table, its numbers known."""

    row: int
    q_first: int
    n_q: int
    k_first: int
    k_begin: int
    n: int
    q_offset: int
    line: int  # where it stands in the table


def of_documents(cu_seqlens: Tensor, length: int) -> Tensor:
    """Documents packed in one row of `length` tokens; the first and the last of `cu_seqlens` need not be its ends."""
    pad = torch.nn.functional.pad
    ends = pad(pad(cu_seqlens.to(torch.int32), (1, 0)), (0, 1), value=_BEYOND)
    ends = ends.clamp(0, length)  # 0, the ends of the documents, length
    documents = cu_seqlens.shape[0] - 1
    compiling = torch.compiler.is_compiling()  # numbers of documents are symbols then
    first, last = (_differences if compiling else _kept_differences)(documents, cu_seqlens.device)
    return (ends[last] - ends[first]).clamp(min=0)


def _differences(documents: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of which two of the numbers 0, ends of documents, length each number of the table is the difference.

    The rows of K and of Q before the first document; a line for each document; the rows of Q and of K behind the last.
    """
    line = torch.arange(documents + 4, device=device)
    place = (line - 1).clamp(0, documents + 1)
    zero = torch.zeros_like(line)
    queries, keys = (line > 0) & (line < documents + 3), (line != 1) & (line != documents + 2)
    from_q, to_q, from_k, to_k = queries * place, queries * (place + 1), keys * place, keys * (place + 1)
    first = torch.stack([zero, zero, from_q, zero, zero, from_k, zero], 1)
    return first, torch.stack([zero, place, to_q, place, zero, to_k, zero], 1)


_kept_differences = lru_cache(maxsize=64)(_differences)


def of_starts(start: Tensor) -> Tensor:
    """Documents of rows [B, n] of tokens, each of which knows the first position of its own document.

    A token that is its own start begins a document.  There may be as many as tokens; lines left over are empty.
    """
    batch, length = start.shape
    place = torch.arange(length, device=start.device, dtype=torch.int32).expand(batch, length)
    begins = (start == place).flatten()
    begins = begins | (place == 0).flatten()  # whatever is written there
    number = begins.cumsum(0) - 1
    first = torch.full((batch * length + 1,), batch * length, device=start.device, dtype=torch.int64)
    where = torch.where(begins, number, batch * length)
    tokens = torch.arange(batch * length, device=start.device)
    first = first.scatter(0, where, torch.where(begins, tokens, batch * length))
    stops = first[1:].clone()
    sizes = (stops - first[:-1]).to(torch.int32)
    rows = (first[:-1] // max(length, 1)).clamp(max=max(batch - 1, 0)).to(torch.int32)
    firsts = (first[:-1] % max(length, 1)).to(torch.int32)
    return _lines(rows, firsts, sizes, firsts, 0, sizes, 0)


def of_rows(
    batch: int,
    n_q: int,
    n_k: int,
    device: torch.device,
    lengths: Tensor | None,
    q_lengths: Tensor | None,
    q_offset: Tensor | int | None,
    k_offset: Tensor | int | None,
) -> Tensor:
    """Rows of a batch of n_q queries and n_k keys, with numbers of each row [B] or for all.

    `lengths`: keys of the whole sequence; what lies behind them is not there.  `k_offset`: position of the first key
    that is passed; keys at negative positions are not there.  `q_offset`: position of the first query; queries at
    negative positions are padding.  `q_lengths`: rows of Q that are queries; the rest is padding.  Without q_offset
    and q_lengths, and with as many rows of Q as of K, both are the same tokens; otherwise queries are the last of the
    keys, or begin at position 0 where there are more of them than keys.
    """

    def numbers(x: Tensor | int) -> Tensor:
        return x.to(torch.int32) if isinstance(x, Tensor) else torch.full((batch,), x, device=device, dtype=torch.int32)

    same = q_offset is None and q_lengths is None and n_q == n_k
    first_key = numbers(0 if k_offset is None else k_offset)
    passed = first_key + n_k
    n = (passed if lengths is None else torch.minimum(numbers(lengths), passed)).clamp(min=0)
    k_begin = first_key.clamp(min=0)
    k_first = (k_begin - first_key).clamp(max=n_k)
    n = torch.maximum(n, k_begin)
    count = numbers(n_q if q_lengths is None else q_lengths).clamp(0, n_q)
    position = first_key if same else (n - count).clamp(min=0) if q_offset is None else numbers(q_offset)
    q_first = torch.minimum((-position).clamp(min=0), count)
    stop = torch.minimum((n - position).clamp(min=0), count) if same else count
    queries = (stop - q_first).clamp(min=0)
    row = torch.arange(batch, device=device, dtype=torch.int32)
    k_stop = k_first + n - k_begin
    zero = torch.zeros_like(row)
    return torch.cat(
        [
            _queries_alone(row, zero, q_first),
            _lines(row, q_first, queries, k_first, k_begin, n, position + q_first),
            _queries_alone(row, q_first + queries, n_q - q_first - queries),
            _keys_alone(row, zero, k_first),
            _keys_alone(row, k_stop, n_k - k_stop),
        ]
    )


def _lines(row: Any, q_first: Any, n_q: Any, k_first: Any, k_begin: Any, n: Any, q_offset: Any) -> Tensor:
    """Lines of the table; integers stand for all of them."""
    like = next(x for x in (row, q_first, n_q, n) if isinstance(x, Tensor))
    columns = (row, q_first, n_q, k_first, k_begin, n, q_offset)
    return torch.stack([x if isinstance(x, Tensor) else torch.full_like(like, x) for x in columns], 1)


def _queries_alone(row: Tensor, first: Tensor, count: Tensor) -> Tensor:
    """Lines of rows of Q that belong to no sequence."""
    return _lines(row, first, count, 0, 0, 0, 0)


def _keys_alone(row: Tensor, first: Tensor, count: Tensor) -> Tensor:
    """Lines of rows of K that belong to no sequence."""
    return _lines(row, 0, 0, first, 0, count, 0)


def known(table: Tensor) -> list[SequenceLine]:
    """The lines of a table that have pairs.  Waits for the device; ValueError in a CUDA graph."""
    if table.is_cuda and torch.cuda.is_current_stream_capturing():
        cure = "call it outside of the graph: its sequences run one by one, and their lengths are read"
        raise ValueError(f"[SP0612] documents and lengths of this pattern can't be captured in a CUDA graph: {cure}")
    lines = [SequenceLine(*numbers) for numbers in zip(*table.T.tolist(), range(len(table)), strict=True)]
    return [line for line in lines if line.n_q > 0 and line.n > line.k_begin]
