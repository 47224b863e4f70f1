"""`sparsec.distributed.shard`: attention over a sequence that is cut over several ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor.parallel import ParallelStyle

from sparsec.analysis.sharding import LAYOUTS
from sparsec.diagnostics import NotSharded, SparsecError
from sparsec.distributed import operators
from sparsec.distributed.core import Core, on_device
from sparsec.ir.chosen import Routing
from sparsec.kernels.operator.op import cast_by_autocast, positive
from sparsec.kernels.program.checks import checked, checked_flag, integer
from sparsec.kernels.weights.sinks import checked_sinks
from sparsec.runtime.attend import Attend
from sparsec.runtime.bound_pattern import BoundPattern


class Sharded(torch.nn.Module):
    """Attention over a sequence of which each rank holds a part; made by `shard`.

    A module without parameters.  All ranks of the mesh call it, with the tokens that `positions` names.
    """

    def __init__(self, attend: Attend, mesh: DeviceMesh, layout: str) -> None:
        super().__init__()
        self.attend, self.layout = attend, layout
        self._core = Core(attend, mesh, layout)

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
        dropout_p: float | None = None,
        dropout_seed: int | Tensor | None = None,
        deterministic: bool = True,
        return_lse: bool = False,
        **inputs: Tensor,
    ) -> Any:
        """q [B, H, m, D]; k, v [B, H_kv, m, D or D_v], this rank's m tokens -> out [B, H, m, D_v], and lse [B, H, m].

        What the operator returns for these rows of the whole sequence, with its gradients; lse if asked.  `n`: the
        positions of the whole sequence; needed where ranks hold unequal numbers, otherwise m times the number of ranks.

        `documents`: cu_seqlens of a packed row, which begins with 0 and ends with n, as integers or a tensor on the
        CPU: then keys travel that these documents need.  Or, on the device of q, cu_seqlens or start [B, n] as of the
        operator: nothing waits for their numbers, and keys travel that some documents could need.

        `inputs` of the pattern are those of the whole sequence, the same on all ranks, with their shapes for n
        positions; keys travel that some inputs could need.  Gradients of float inputs, and of `sinks`, are those of
        this rank's rows, as of every parameter.

        `dropout_p` drops the weights that the operator drops with `dropout_seed`, which has to be given: the same on
        all ranks.  `scale`, `sinks`, `deterministic` and `return_lse` as of the operator.

        SparsecError for tokens that are not this rank's; ValueError as of the operator; what torch.distributed raises
        where a peer fails or times out.
        """
        operator, core = self.attend._operator, self._core
        q, k, v = cast_by_autocast(q, k, v)
        scale = checked(q, k, v, scale, self.attend._heads or operator.heads, operator.program.most_positions)
        ends = core.ends(q.shape[2], n, documents)
        q, scale = positive(q, scale)
        sinks = checked_sinks(sinks, q)
        kept, with_lse = checked_flag("deterministic", deterministic), checked_flag("return_lse", return_lse)
        data = core.data(ends, q, k, documents, inputs, dropout_p, dropout_seed, kept)
        out, lse, _ = operators.sharded(q, k, v, sinks, scale, core.name, ends, *data)
        return (out, lse) if with_lse else out

    @property
    def pattern(self) -> BoundPattern:
        """That of the operator."""
        return self.attend.pattern

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
        shards = core.shards(ends, documents is not None and on_device(documents))
        return torch.from_numpy(shards.traffic(core.groups(heads or key_heads, key_heads)))

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

    SparsecError for what can't be sharded: `routed`, which chooses among the queries of all ranks.
    """
    if not isinstance(attend, Attend):
        raise TypeError(f"what sparsec.load or sparsec.compile returned is sharded, not {type(attend).__name__}")
    if layout not in (*LAYOUTS, "auto"):
        known = ", ".join(map(repr, (*LAYOUTS, "auto")))
        raise SparsecError(NotSharded(problem=f"layout {layout!r} is not known", way_out=f"known are {known}"))
    if any(isinstance(own.choice, Routing) for own in attend.pattern.nodes.inputs):
        problem = f"`{attend.pattern.name}` uses `routed`, and clusters take the best of the queries of all ranks"
        cure = "choose keys for each query, by `top_keys` or `top_blocks`, or groups by `lsh`"
        raise SparsecError(NotSharded(problem=problem, way_out=cure))
    if dim is not None:
        mesh = mesh[dim]
    if mesh.ndim != 1:
        problem = f"the mesh has {mesh.ndim} dimensions, {mesh.mesh_dim_names}"
        raise SparsecError(
            NotSharded(problem=problem, way_out="name that of the sequence: shard(attend, mesh, dim=...)")
        )
    return Sharded(attend, mesh, layout)


class ContextParallel(ParallelStyle):
    """A plan of `parallelize_module`: operators that modules hold as attributes are sharded, where they stand.

        parallelize_module(model, mesh["cp"], {"layers.*.attention": ContextParallel("head-tail")})

    What the modules get are this rank's tokens, as torch's context parallelism cuts them: "head-tail" is the layout of
    its load balancer, "contiguous" that without one.
    """

    def __init__(self, layout: str = "contiguous") -> None:
        super().__init__()
        self.layout = layout

    def _apply(self, module: torch.nn.Module, device_mesh: DeviceMesh) -> torch.nn.Module:
        held = [
            (each, name, value)
            for each in module.modules()
            for name, value in vars(each).items()
            if isinstance(value, Attend)
        ]
        if not held:
            problem = f"no module within {type(module).__name__} holds an operator"
            cure = "make what sparsec.load or sparsec.compile returned an attribute, as sparsec.nn.Attend does"
            raise SparsecError(NotSharded(problem=problem, way_out=cure))
        for each, name, value in held:
            delattr(each, name)  # a module of the same name would not be registered
            setattr(each, name, shard(value, device_mesh, self.layout))
        return module
