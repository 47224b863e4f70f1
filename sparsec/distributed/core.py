"""What a sharded operator knows: the pattern, the rank among others, and the part of the rank in calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import count
from typing import TypeVar

from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from sparsec.analysis.any_data import anywhere, for_any_data
from sparsec.analysis.numbers import Uncounted
from sparsec.analysis.sharding import Shards, Shares, chosen_layout, split
from sparsec.diagnostics import NotSharded, SparsecError
from sparsec.distributed import operators
from sparsec.distributed.data import Data
from sparsec.distributed.exchange import rows_of
from sparsec.distributed.forms import Forms
from sparsec.distributed.passes import Part
from sparsec.distributed.steps import steps_of
from sparsec.ir import nodes as ir
from sparsec.ir.approximate import bounded
from sparsec.kernels.program.checks import integer
from sparsec.kernels.program.inputs import checked_inputs, refuse_lists
from sparsec.kernels.sequences.positions import Positions, checked_positions
from sparsec.kernels.sequences.table import sequence_table
from sparsec.kernels.weights.dropout import Dropped, checked_dropout, streams_of
from sparsec.runtime.attend import Attend

_MOST_KEPT = 64  # lengths whose index lists are kept
_Made = TypeVar("_Made")
_NUMBERS = count()


class Core:
    """It stays the same object in copies of the module."""

    def __init__(self, attend: Attend, mesh: DeviceMesh, layout: str) -> None:
        self.attend, self.layout = attend, layout
        self.pattern = attend.pattern.nodes
        self.group, self.rank, self.ranks = mesh.get_group(), mesh.get_local_rank(), mesh.size()
        self.forms = Forms(attend)
        self.cuts: dict[tuple, Shares] = {}
        self.known: dict[tuple, Shards] = {}
        self.parts: dict[tuple, Part] = {}
        # What graphs and their sizes depend on: torch's compiler keeps graphs for other ranks and processes.
        content = attend._operator.forward.name(), layout, f"rank {self.rank} of {self.ranks}", str(next(_NUMBERS))
        self.name = ", ".join(content)
        operators.OWNERS[self.name] = self

    def __deepcopy__(self, memo: dict) -> Core:
        return self

    def ends(self, own: int, n: int | None, documents: Sequence[int] | Tensor | None) -> tuple[int, ...]:
        """0, where documents that the host knows begin, the length of the whole row."""
        if documents is None or on_device(documents):
            return 0, own * self.ranks if n is None else integer("n", n)
        ends = tuple(int(x) for x in documents)
        if len(ends) < 2 or ends[0] != 0 or list(ends) != sorted(ends) or (n is not None and ends[-1] != n):
            wanted = f"0 to {n}" if n is not None else "0 on"
            problem = f"`documents` is {str(ends)[:60]}"
            raise SparsecError(
                NotSharded(problem=problem, way_out=f"cu_seqlens rises from {wanted}, the same on all ranks")
            )
        return ends

    def data(
        self,
        ends: tuple[int, ...],
        q: Tensor,
        k: Tensor,
        documents: Sequence[int] | Tensor | None,
        inputs: Mapping[str, Tensor],
        dropout_p: float | None,
        dropout_seed: int | Tensor | None,
        deterministic: bool,
    ) -> Data:
        """What a call has besides q and k, checked.  ValueError as of the operator; SparsecError."""
        program = self.attend._operator.program
        whole_q, whole_k = (q.new_empty(1, 1, 1, 1).expand(*x.shape[:2], ends[-1], x.shape[3]) for x in (q, k))
        tensors = checked_inputs((*program.inputs, *program.choice_inputs), inputs, whole_q, whole_k)
        reals = len(tensors) - len(program.choice_inputs)
        given = reals - program.score_inputs
        self._check_lists(ends, documents)
        positions, table = Positions(), None
        if on_device(documents):
            positions = checked_positions(Positions(documents=documents), whole_q, whole_k, program.most_positions)
            table = sequence_table(program, positions, whole_q, whole_k)
        if dropout_seed is None and dropout_p:
            cure = "pass dropout_seed, the same on all ranks"
            raise SparsecError(NotSharded(problem="dropout_p draws a seed on each rank", way_out=cure))
        p, seed = checked_dropout(Dropped(dropout_p, seed=dropout_seed), q)
        streams = None if seed is None else streams_of(seed, positions, q.shape[0], table)
        return Data(tensors[:given], tensors[reals:], table, streams, p, deterministic, tensors[given:reals])

    def _check_lists(self, ends: tuple[int, ...], documents: Sequence[int] | Tensor | None) -> None:
        """That ranks hold whole blocks of the queries that share a list."""
        declared = self.attend._operator.program.inputs
        if documents is not None:
            refuse_lists(declared)
        for own in declared:
            firsts = [first for segments in self.shares(ends[-1]) for first, _ in segments]
            if own.by_row and any(first % own.sizes[0] for first in firsts):
                problem = f"{own} is about {own.sizes[0]} queries at a time, and ranks cut between them, at {firsts}"
                cure = f"take another layout or a length at which ranks begin at multiples of {own.sizes[0]}"
                raise SparsecError(NotSharded(problem=problem, way_out=cure))

    def check(self, ends: tuple[int, ...], q: Tensor, k: Tensor) -> None:
        """That the tokens are this rank's."""
        own = self.shards(ends, False).size(self.rank)
        for name, x in (("q", q), ("k", k)):
            if x.shape[2] != own:
                problem = (
                    f"rank {self.rank} of {self.ranks} holds {own} of {ends[-1]} positions, and {name} has {x.shape[2]}"
                )
                cure = "cut with `local`, and pass `n` where ranks hold unequal numbers"
                raise SparsecError(NotSharded(problem=problem, way_out=cure))

    def shares(self, n: int) -> Shares:
        """The segments of each rank."""
        return _kept(self.cuts, (n,), lambda: self._shares(n))

    def _shares(self, n: int) -> Shares:
        layout = chosen_layout(self.pattern, n, self.ranks) if self.layout == "auto" else self.layout
        try:
            return split(layout, n, self.ranks, bounded(self.pattern))
        except Uncounted:
            problem = f"the pairs of `{self.pattern.name}` can't be counted at n = {n}"
            raise SparsecError(NotSharded(problem=problem, way_out="choose another layout than 'balanced'")) from None

    def shards(self, ends: tuple[int, ...], unknown: bool) -> Shards:
        """Who needs what; `unknown`: where documents begin."""
        return _kept(self.known, (ends, unknown), lambda: Shards(self.bounds[unknown], ends, self.shares(ends[-1])))

    @cached_property
    def bounds(self) -> tuple[ir.Pattern, ir.Pattern]:
        """What keeps all pairs that the pattern can keep for some data, and of documents that begin anywhere."""
        found = for_any_data(self.pattern)
        return found, anywhere(found)

    def groups(self, heads: int, key_heads: int) -> list[tuple[int, ...]]:
        """The conditions of each key head."""
        group = heads // key_heads
        return [self.conditions(range(head * group, (head + 1) * group)) for head in range(key_heads)]

    def conditions(self, heads: range) -> tuple[int, ...]:
        numbers = self.pattern.head_conditions
        return tuple(sorted({numbers[head] for head in heads})) if numbers else (0,)

    def received(self, ends: tuple[int, ...], q: Tensor, k: Tensor, data: Data) -> int:
        """Rows that a call receives."""
        self.check(ends, q, k)
        shards = self.shards(ends, data.sequences is not None)
        return k.shape[0] * int(shards.traffic(self.groups(q.shape[1], k.shape[1]))[self.rank].sum())

    def part(self, ends: tuple[int, ...], q: Tensor, k: Tensor, data: Data) -> Part:
        """The rank's part in a call, worked out once."""
        self.check(ends, q, k)
        kind = data.sequences is not None, data.streams is not None
        key = ends, k.shape[0], q.shape[1], k.shape[1], q.device, kind
        return _kept(self.parts, key, lambda: self._part(ends, q, k, *kind))

    def _part(self, ends: tuple[int, ...], q: Tensor, k: Tensor, unknown: bool, dropped: bool) -> Part:
        shards, groups = self.shards(ends, unknown), self.groups(q.shape[1], k.shape[1])
        steps = steps_of(self.forms, shards, self.rank, tuple(dict.fromkeys(groups)), unknown, dropped)
        rows = rows_of(shards, self.rank, steps.runs, groups, k.shape[0], q.device)
        sends = bool(shards.traffic(groups).any())
        return Part(steps, rows, ends, k.shape[0], k.shape[1], sends, self.group)


def on_device(documents: Sequence[int] | Tensor | None) -> bool:
    """Whether the host does not look at the numbers of documents."""
    return isinstance(documents, Tensor) and (documents.device.type != "cpu" or documents.dim() == 2)


def _kept(known: dict[tuple, _Made], key: tuple, make: Callable[[], _Made]) -> _Made:
    """What is made once for a key; the oldest gives way."""
    if key not in known:
        known[key] = make()
        if len(known) > _MOST_KEPT:
            known.pop(next(iter(known)))
    return known[key]
