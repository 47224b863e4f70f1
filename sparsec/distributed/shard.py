"""`sparsec.distributed.shard`: attention over a sequence that is cut over several ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from sparsec.analysis.numbers import Uncounted
from sparsec.analysis.sharding import LAYOUTS, Shards, Shares, chosen_layout, split
from sparsec.diagnostics import NotSharded, SparsecError
from sparsec.distributed import operators
from sparsec.distributed.exchange import rows_of
from sparsec.distributed.passes import Part
from sparsec.distributed.steps import Forms, steps_of
from sparsec.kernels.call import checked, integer
from sparsec.kernels.op import positive
from sparsec.kernels.sinks import checked_sinks
from sparsec.runtime.attend import Attend

_MOST_KEPT = 64  # lengths whose index lists are kept
_Made = TypeVar("_Made")
_NUMBERS = count()


class Sharded(torch.nn.Module):
    """Attention over a sequence of which each rank holds a part; made by `shard`.

    A module without parameters.  All ranks of the mesh call it, with the tokens that `positions` names.
    """

    def __init__(self, attend: Attend, mesh: DeviceMesh, layout: str) -> None:
        super().__init__()
        self.attend, self.layout = attend, layout
        self._core = _Core(attend, mesh, layout)

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        n: int | None = None,
        documents: Sequence[int] | Tensor | None = None,
        scale: float | None = None,
        sinks: Tensor | None = None,
        return_lse: bool = False,
    ) -> Any:
        """q [B, H, m, D]; k, v [B, H_kv, m, D or D_v], this rank's m tokens -> out [B, H, m, D_v], and lse [B, H, m].

        What the operator returns for these rows of the whole sequence, with its gradients; lse if asked.  `n`:
        positions of the whole sequence; needed where ranks hold unequal numbers, otherwise m times the number of ranks.
        `documents`: cu_seqlens of a packed row, which begins with 0 and ends with n, as integers or a tensor on the
        CPU: who needs what depends on its numbers.  `scale`, `sinks` and `return_lse` as of the operator; the gradient
        of `sinks` is that of this rank's rows, as of every parameter.  No weights are dropped.

        SparsecError for tokens that are not this rank's; ValueError as of the operator; what torch.distributed raises
        where a peer fails or times out.
        """
        operator = self.attend._operator
        q, k, v = operator._cast(q, k, v)
        scale = checked(q, k, v, scale, self.attend._heads or operator.heads, operator.program.most_positions)
        ends = self._core.ends(q.shape[2], n, documents)
        q, scale = positive(q, scale)
        sinks = checked_sinks(sinks, q)
        out, lse, _ = operators.sharded(q, k, v, sinks, scale, self._core.number, ends)
        return (out, lse) if return_lse else out

    def positions(self, n: int) -> Tensor:
        """int64 [m], on the CPU: the positions of this rank's tokens in a sequence of n, in their order.

        Position embeddings of a shard are those of these positions.
        """
        segments = self._core.shares(integer("n", n))[self._core.rank]
        return torch.cat([torch.arange(0), *(torch.arange(*segment) for segment in segments)])

    def local(self, x: Tensor, dim: int = 2) -> Tensor:
        """This rank's tokens of a whole tensor; `dim` is that of positions."""
        segments = self._core.shares(x.shape[dim])[self._core.rank]
        parts = [x.narrow(dim, first, stop - first) for first, stop in segments]
        return parts[0] if len(parts) == 1 else torch.cat([x.narrow(dim, 0, 0), *parts], dim)

    def traffic(
        self, n: int, key_heads: int, heads: int | None = None, documents: Sequence[int] | Tensor | None = None
    ) -> Tensor:
        """int64 [ranks, ranks]: keys of all key heads that rank i gets from rank j forward, of each row of the batch.

        Each is a key and a value; backward, as many gradients go the other way.  `heads`: query heads, needed by
        patterns by head.
        """
        core, ends = self._core, self._core.ends(-1, integer("n", n), documents)
        return torch.from_numpy(core.shards(ends).traffic(core.groups(heads or key_heads, key_heads)))

    def extra_repr(self) -> str:
        return f"{self.attend.pattern}, layout={self.layout!r}, rank {self._core.rank} of {self._core.ranks}"


def shard(attend: Attend, mesh: DeviceMesh, layout: str = "contiguous", *, dim: str | None = None) -> Sharded:
    """Attention over a sequence that is cut over the ranks of a mesh (context parallelism), as a module.

        attend = sparsec.compile("pattern p = past(4096) | sinks(4)")
        sharded = sparsec.distributed.shard(attend, init_device_mesh("cuda", (8,)))
        out = sharded(sharded.local(q), sharded.local(k), sharded.local(v))

    Each rank gets the keys that its queries see, and no other, in one all-to-all; gradients of keys come back in one.
    The result and the gradients are those of `attend` on the whole sequence; results are equal bit for bit from run to
    run.  `mesh` has one dimension, or `dim` names one of several.

    `layout`: "contiguous" cuts as torch.chunk and DTensor's Shard do; "head-tail" gives rank r the chunks r and
    2 * ranks - 1 - r, so that causal attention is even; "balanced" cuts into runs in which the pattern keeps as many
    pairs; "auto" takes the first of them whose work is even at the length of the call.

    SparsecError for what can't be sharded: data of the call (`input`), choices by content (`top_blocks`).
    """
    if not isinstance(attend, Attend):
        raise TypeError(f"what sparsec.load or sparsec.compile returned is sharded, not {type(attend).__name__}")
    if layout not in (*LAYOUTS, "auto"):
        known = ", ".join(map(repr, (*LAYOUTS, "auto")))
        raise SparsecError(NotSharded(problem=f"layout {layout!r} is not known", way_out=f"known are {known}"))
    if inputs := (*attend.pattern.nodes.inputs, *attend.pattern.nodes.score_inputs):
        name = inputs[0].name
        problem = f"`{attend.pattern.name}` reads `{name}`, data of the call"
        raise SparsecError(NotSharded(problem=problem, way_out="who needs which key has to follow from the text"))
    if dim is not None:
        mesh = mesh[dim]
    if mesh.ndim != 1:
        problem = f"the mesh has {mesh.ndim} dimensions, {mesh.mesh_dim_names}"
        raise SparsecError(
            NotSharded(problem=problem, way_out="name that of the sequence: shard(attend, mesh, dim=...)")
        )
    return Sharded(attend, mesh, layout)


class _Core:
    """What a sharded operator knows: it stays the same object in copies of the module."""

    def __init__(self, attend: Attend, mesh: DeviceMesh, layout: str) -> None:
        self.attend, self.layout = attend, layout
        self.pattern = attend.pattern.nodes
        self.group, self.rank, self.ranks = mesh.get_group(), mesh.get_local_rank(), mesh.size()
        self.forms = Forms(attend)
        self.known: dict[tuple, Shards] = {}
        self.parts: dict[tuple, Part] = {}
        self.number = next(_NUMBERS)
        operators.OWNERS[self.number] = self

    def __deepcopy__(self, memo: dict) -> _Core:
        return self

    def ends(self, own: int, n: int | None, documents: Sequence[int] | Tensor | None) -> tuple[int, ...]:
        """0, where documents begin, the length of the whole row."""
        if documents is None:
            return 0, own * self.ranks if n is None else integer("n", n)
        if isinstance(documents, Tensor) and documents.device.type != "cpu":
            problem = f"`documents` is on {documents.device}"
            cure = "give integers or a tensor on the CPU: who sends what depends on its numbers"
            raise SparsecError(NotSharded(problem=problem, way_out=cure))
        ends = tuple(int(x) for x in documents)
        if len(ends) < 2 or ends[0] != 0 or list(ends) != sorted(ends) or (n is not None and ends[-1] != n):
            wanted = f"0 to {n}" if n is not None else "0 on"
            problem = f"`documents` is {str(ends)[:60]}"
            raise SparsecError(
                NotSharded(problem=problem, way_out=f"cu_seqlens rises from {wanted}, the same on all ranks")
            )
        return ends

    def check(self, ends: tuple[int, ...], q: Tensor, k: Tensor) -> None:
        """That the tokens are this rank's."""
        own = self.shards(ends).size(self.rank)
        for name, x in (("q", q), ("k", k)):
            if x.shape[2] != own:
                problem = (
                    f"rank {self.rank} of {self.ranks} holds {own} of {ends[-1]} positions, and {name} has {x.shape[2]}"
                )
                cure = "cut with `local`, and pass `n` where ranks hold unequal numbers"
                raise SparsecError(NotSharded(problem=problem, way_out=cure))

    def shares(self, n: int) -> Shares:
        """The segments of each rank."""
        layout = chosen_layout(self.pattern, n, self.ranks) if self.layout == "auto" else self.layout
        try:
            return split(layout, n, self.ranks, self.pattern)
        except Uncounted:
            problem = f"the pairs of `{self.pattern.name}` can't be counted at n = {n}"
            raise SparsecError(NotSharded(problem=problem, way_out="choose another layout than 'balanced'")) from None

    def shards(self, ends: tuple[int, ...]) -> Shards:
        """Who needs what."""
        return _kept(self.known, ends, lambda: Shards(self.pattern, ends, self.shares(ends[-1])))

    def groups(self, heads: int, key_heads: int) -> list[tuple[int, ...]]:
        """The conditions of each key head."""
        group = heads // key_heads
        return [self.conditions(range(head * group, (head + 1) * group)) for head in range(key_heads)]

    def conditions(self, heads: range) -> tuple[int, ...]:
        numbers = self.pattern.head_conditions
        return tuple(sorted({numbers[head] for head in heads})) if numbers else (0,)

    def received(self, ends: tuple[int, ...], q: Tensor, k: Tensor) -> int:
        """Rows that a call receives."""
        self.check(ends, q, k)
        traffic = self.shards(ends).traffic(self.groups(q.shape[1], k.shape[1]))
        return k.shape[0] * int(traffic[self.rank].sum())

    def part(self, ends: tuple[int, ...], q: Tensor, k: Tensor) -> Part:
        """The rank's part in a call, worked out once."""
        self.check(ends, q, k)
        key = ends, k.shape[0], q.shape[1], k.shape[1], q.device
        return _kept(self.parts, key, lambda: self._part(ends, q, k))

    def _part(self, ends: tuple[int, ...], q: Tensor, k: Tensor) -> Part:
        shards, groups = self.shards(ends), self.groups(q.shape[1], k.shape[1])
        steps = steps_of(self.forms, shards, self.rank, tuple(dict.fromkeys(groups)))
        rows = rows_of(shards, self.rank, steps.runs, groups, k.shape[0], q.device)
        sends = bool(shards.traffic(groups).any())
        return Part(steps, rows, k.shape[0], k.shape[1], sends, self.group)


def _kept(known: dict[tuple, _Made], key: tuple, make: Callable[[], _Made]) -> _Made:
    """What is made once for a key; the oldest gives way."""
    if key not in known:
        known[key] = make()
        if len(known) > _MOST_KEPT:
            known.pop(next(iter(known)))
    return known[key]
