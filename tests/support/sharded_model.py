"""A layer with sharded attention under FSDP2, checkpoints and torch's compiler, compared with one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import parallelize_module
from torch.utils.checkpoint import checkpoint

import sparsec
import sparsec.distributed
import sparsec.nn

N, WIDTH = 44, 32


class Layer(nn.Module):
    def __init__(self, attend: Callable, under_checkpoint: bool = False) -> None:
        super().__init__()
        self.qkv, self.out, self.attend = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH), attend
        self.sinks, self.under_checkpoint = nn.Parameter(torch.randn(2)), under_checkpoint

    def forward(self, x: Tensor, **call: Any) -> Tensor:
        run = partial(checkpoint, self.attended, use_reentrant=False) if self.under_checkpoint else self.attended
        return x + run(x, **call)

    def attended(self, x: Tensor, **call: Any) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        return self.out(self.attend(q, k, v, sinks=self.sinks, **call).transpose(1, 2).flatten(2))


def composed(mesh: DeviceMesh, kinds: Sequence[str]) -> dict[str, float]:
    """Largest differences of results and gradients under "fsdp", "checkpoint", "plan", "compile", or some together."""
    torch.manual_seed(0)
    found = {}
    for text, layout, data in (
        ("pattern p = past(9) | sinks(2)", "head-tail", {}),
        ("input doc: int[n] pattern p = causal & doc[q] == doc[k]", "contiguous", {"doc": torch.arange(N) // 17}),
    ):
        attend = sparsec.compile(text)
        sharded = sparsec.distributed.shard(attend, mesh, layout)
        whole = Layer(attend).double()
        x, g = torch.randn(2, 2, N, WIDTH, dtype=torch.float64)
        wanted = _gradients(whole, whole(x, **data), g)
        for kind in kinds:
            own = Layer(sharded, "checkpoint" in kind).double()
            own.load_state_dict(whole.state_dict())
            if "plan" in kind:
                own.attend = sparsec.nn.Attend(attend)
                parallelize_module(own, mesh, {"attend": sparsec.distributed.ContextParallel(layout)})
            if "fsdp" in kind:
                fully_shard(own, mesh=mesh)
            if "compile" in kind:
                own.compile(fullgraph="fsdp" not in kind)
            out = own(sharded.local(x, 1).clone(), n=N, **data)
            results = _gradients(own, out, sharded.local(g, 1))
            for place, (y, z) in enumerate(zip(results, wanted, strict=True)):
                if isinstance(y, DTensor):
                    y = y.full_tensor() * mesh.size()  # a mean over ranks
                elif place:
                    dist.all_reduce(y)
                z = z if place else sharded.local(z, 1)
                found[f"{kind}, {text}, {place}"] = (y - z).abs().max().item()
    return found


def cut_as_torch(mesh: DeviceMesh) -> bool:
    """Whether torch's context parallelism cuts buffers as layouts do."""
    from torch.distributed.tensor.experimental import _attention as cp

    attend, same = sparsec.compile("pattern p = causal"), []
    for layout in ("contiguous", "head-tail"):
        x = torch.arange(48.0).view(1, 48, 1)
        balancer = cp._HeadTailLoadBalancer(48, mesh.size(), "cpu") if layout == "head-tail" else None
        [cut] = cp._context_parallel_shard(mesh, [x.clone()], [1], balancer)
        same.append(torch.equal(cut, sparsec.distributed.shard(attend, mesh, layout).local(x, 1)))
    return all(same)


def _gradients(model: nn.Module, out: Tensor, g: Tensor) -> list[Tensor]:
    model.zero_grad(set_to_none=True)
    (out * g).sum().backward()
    return [out.detach(), *(x.grad for x in model.parameters() if x.grad is not None)]
