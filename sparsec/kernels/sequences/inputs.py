"""Inputs of calls about several sequences: what belongs to one of them.

Positions, blocks and groups are those of a sequence alone.  Lists of blocks, and scores of blocks, of the sequences in
one row of the batch follow one another: a sequence has one for each `rows` of its queries, the last one of fewer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from sparsec.kernels.program.inputs import Input, cut
from sparsec.kernels.program.program import cdiv
from sparsec.kernels.sequences.sequences import SequenceLine


class FirstLists:
    """Where the lists of each sequence begin, for any number of queries to a list."""

    def __init__(self, lines: Sequence[SequenceLine]) -> None:
        self.lines = lines
        self.found: dict[int, dict[int, int]] = {}  # by number of queries, and by line

    def of(self, line: SequenceLine, rows: int) -> int:
        """The place of the first list of a sequence, of `rows` queries each."""
        if rows not in self.found:
            ends = Counter[int]()
            made = self.found[rows] = {}
            for own in self.lines:
                made[own.line] = ends[own.row]
                ends[own.row] += cdiv(own.n_q, rows)
        return self.found[rows][line.line]


def most_lists(n_q: int, rows: int, lines: int) -> int:
    """The most lists that n_q queries in so many sequences have, `rows` to a list."""
    return torch.sym_min(n_q, n_q // rows + lines)


def input_alone(own: Input, x: Tensor, line: SequenceLine, first_lists: FirstLists, n_q: int) -> Tensor:
    """What belongs to one sequence of a checked input; `n_q`: rows of Q in all.  ValueError: there is too little."""
    keys = slice(line.k_first, line.k_first + line.n - line.k_begin)
    x_of_row = x[line.row : line.row + 1] if len(x) > 1 else x
    if own.kind == "labels":
        queries = x_of_row[..., line.q_first : line.q_first + line.n_q]
        return torch.cat([queries, x_of_row[..., n_q + keys.start : n_q + keys.stop]], -1)
    if own.kind == "centroids":
        return x_of_row
    if not own.has_lists:
        return cut(own, x, line.row, keys)
    first = first_lists.of(line, own.sizes[0])
    lists = slice(first, first + cdiv(line.n_q, own.sizes[0]))
    if lists.stop > x.shape[2]:
        needed = f"its sequences up to this one have {lists.stop}, one for each {own.sizes[0]} queries of a sequence"
        raise ValueError(f"[SP0620] the input {own} has {x.shape[2]} lists for row {line.row} of the batch: {needed}")
    blocks = cdiv(line.n, own.sizes[1])
    if own.kind == "scores" and x.shape[3] < blocks:
        raise ValueError(f"[SP0620] the input {own} has scores of {x.shape[3]} blocks: a sequence has {blocks}")
    return x_of_row[:, :, lists, :blocks] if own.kind == "scores" else x_of_row[:, :, lists]
