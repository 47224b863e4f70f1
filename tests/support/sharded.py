"""Sharded calls in several processes, each compared with dense attention over the whole sequence."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

import sparsec
import sparsec.distributed
from sparsec.distributed import Sharded
from sparsec.show.ranks import over_ranks
from support.calls import no_synchronisation

SIZE = 16


@dataclass(frozen=True)
class Case:
    text: str
    n: int
    heads: int = 2
    key_heads: int = 2
    layout: str = "contiguous"
    batch: int = 1
    documents: tuple[int, ...] | None = None
    sinks: bool = False
    by_head: bool = False
    v_head_size: int = SIZE

    @property
    def name(self) -> str:
        return f"{self.text.strip()}, {self.layout}, n = {self.n}, values of {self.v_head_size}"

    def attend(self) -> sparsec.Attend:
        text = self.text if "pattern p" in self.text else f"pattern p = {self.text}"
        with warnings.catch_warnings():  # that rows have no key
            warnings.simplefilter("ignore", sparsec.PatternWarning)
            return sparsec.compile(text, heads=self.heads if self.by_head else None)


@dataclass
class Found:
    """What a rank found: the largest differences, with what is allowed; keys of all key heads that it received, that
    its queries see elsewhere, that were predicted, and that `show` draws (None of documents and of patterns by head).
    """

    differences: dict[str, tuple[float, float]] = field(default_factory=dict)
    received: int = 0
    needed: int = 0
    predicted: int = 0
    drawn: int | None = None
    repeats: bool = True  # a second call gave the same bits


def everywhere(
    ranks: int,
    folder: Path,
    function: Callable[..., Any],
    *arguments: Any,
    backend: str = "gloo",
    answers: int | None = None,
) -> list:
    """What a function returns on each rank of as many processes, called with a mesh; of the first `answers` ranks."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["torch", "sparsec.distributed"])  # once for all
    given = ranks, folder, backend, function, arguments
    mp.start_processes(_rank, given, ranks, start_method="forkserver" if backend == "gloo" else "spawn")
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(answers or ranks)]


def _rank(rank: int, ranks: int, folder: Path, backend: str, function: Callable[..., Any], arguments: tuple) -> None:
    torch.set_num_threads(1)
    if backend == "nccl":
        os.environ["NCCL_NVLS_ENABLE"] = "0"
        torch.cuda.set_device(rank)
    store = dist.FileStore(str(folder / "store"), ranks)
    dist.init_process_group(backend, store=store, rank=rank, world_size=ranks, timeout=timedelta(seconds=60))
    found = function(init_device_mesh("cuda" if backend == "nccl" else "cpu", (ranks,)), *arguments)
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(found))
    dist.destroy_process_group()


# ---------------------------------------------------------------- dense


def dense(
    attend: sparsec.Attend, mask: Tensor, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None
) -> tuple[Tensor, Tensor]:
    """out and lse, by the definition; `mask` [n, n] or [H, n, n]."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = q @ k.mT * q.shape[-1] ** -0.5
    if score := attend.pattern.score_mod(k.shape[2], q.shape[1]):
        head, row, column = (torch.arange(size) for size in scores.shape[1:])
        scores = score(scores, 0, head[:, None, None], row[:, None], column)
    scores = scores.masked_fill(~mask, float("-inf"))
    if sinks is not None:
        column = sinks.view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, column], 3)
    some = (scores > float("-inf")).any(3, keepdim=True)
    weights = torch.where(some, scores, 0.0).softmax(3) * some
    lse = torch.where(some, scores, 0.0).logsumexp(3).masked_fill(~some[..., 0], float("-inf"))
    return weights[..., : k.shape[2]] @ v, lse


def kept(attend: sparsec.Attend, n: int, documents: Sequence[int] | None) -> np.ndarray:
    """The mask of a whole sequence, or of packed documents: [.., n, n]."""
    if documents is None:
        return attend.pattern.mask(n, n)
    blocks = [(first, stop) for first, stop in pairwise(documents) if first < stop]
    masks = [attend.pattern.mask(stop - first, stop - first) for first, stop in blocks]
    found = np.zeros((*masks[0].shape[:-2], n, n), bool)
    for (first, stop), mask in zip(blocks, masks, strict=True):
        found[..., first:stop, first:stop] = mask
    return found


# ---------------------------------------------------------------- a case


def compare(mesh: DeviceMesh, case: Case, dtype: torch.dtype = torch.float64) -> Found:
    """Forward, log-sum-exp and all gradients of this rank against dense attention; what was received, counted."""
    attend = case.attend()
    sharded = sparsec.distributed.shard(attend, mesh, case.layout)
    return against_dense(mesh, case, attend, sharded, dtype)


def against_dense(
    mesh: DeviceMesh, case: Case, attend: sparsec.Attend, sharded: Sharded, dtype: torch.dtype = torch.float64
) -> Found:
    generator = torch.Generator().manual_seed(1)
    mask = torch.from_numpy(kept(attend, case.n, case.documents))

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(mesh.device_type, dtype)

    heads = case.heads, case.key_heads, case.key_heads, case.heads
    sizes = SIZE, SIZE, case.v_head_size, case.v_head_size
    q, k, v, g = (drawn(case.batch, count, case.n, size) for count, size in zip(heads, sizes, strict=True))
    g_lse, sinks = drawn(case.batch, case.heads, case.n), drawn(case.heads) if case.sinks else None
    given = [x for x in (q, k, v, sinks) if x is not None]

    def gradients(tensors: list[Tensor], out: Tensor, lse: Tensor, g: Tensor, g_lse: Tensor) -> list[Tensor]:
        finite = torch.where(lse == float("-inf"), 0.0, lse)
        return [out, finite, *torch.autograd.grad((out * g).sum() + (finite * g_lse).sum(), tensors)]

    def densely(dtype: torch.dtype) -> list[Tensor]:
        tensors = [x.to(dtype, copy=True).requires_grad_() for x in given]
        out, lse = dense(attend, mask.to(q.device), *tensors[:3], tensors[3] if case.sinks else None)
        return [x.double() for x in gradients(tensors, out, lse, g.to(dtype), g_lse.to(dtype))]

    wanted, rounded = densely(torch.float64), densely(dtype)
    own = [sharded.local(x).clone().requires_grad_() for x in given[:3]]
    own += [x.clone().requires_grad_() for x in given[3:]]
    more = {"sinks": own[3]} if case.sinks else {}

    def call() -> list[Tensor]:
        out, lse = sharded(*own[:3], n=case.n, documents=case.documents, return_lse=True, **more)
        return gradients(own, out, lse, sharded.local(g), sharded.local(g_lse))

    found, again = call(), call()
    if case.sinks:
        dist.all_reduce(found[5])
        dist.all_reduce(again[5])
    report = Found(repeats=all(map(torch.equal, found, again)))
    names = "out", "lse", "dq", "dk", "dv", "dsinks"
    for name, x, whole, other in zip(names, found, wanted, rounded, strict=False):
        y = whole if name == "dsinks" else sharded.local(whole)
        difference = (x.double() - y).abs().max().item() if x.numel() else 0.0
        allowed = (
            2 * (other - whole).abs().max().item()
            + 64 * torch.finfo(torch.promote_types(dtype, torch.float32)).eps * whole.abs().max().item()
        )
        report.differences[name] = difference, allowed
    report.received, report.needed, report.predicted = traffic(mesh, case, sharded, mask.numpy(), k)
    if case.documents is None and not case.by_head:
        drawn = over_ranks(attend.pattern.nodes, case.n, mesh.size(), case.layout).traffic[mesh.get_local_rank()]
        report.drawn = case.batch * case.key_heads * int(drawn.sum())
    return report


def traffic(mesh: DeviceMesh, case: Case, sharded: Sharded, mask: np.ndarray, k: Tensor) -> tuple[int, int, int]:
    """Keys that this rank received, those that its queries see and it does not hold, and the prediction."""
    rank = mesh.get_local_rank()
    core = sharded._core
    ends = core.ends(-1, case.n, case.documents)
    part = next(part for key, part in core.parts.items() if key[0] == ends)
    own = sharded.positions(case.n).numpy()
    away = np.setdiff1d(np.arange(case.n), own)
    masks = np.broadcast_to(mask, (case.heads, case.n, case.n))
    group = case.heads // case.key_heads
    seen = [masks[head * group : (head + 1) * group][:, own].any((0, 1)) for head in range(case.key_heads)]
    needed = case.batch * sum(int(each[away].sum()) for each in seen)
    predicted = sharded.traffic(case.n, case.key_heads, case.heads, case.documents)
    return part.rows.received, needed, case.batch * int(predicted[rank].sum())


def all_of(mesh: DeviceMesh, cases: Sequence[Case], dtype: torch.dtype = torch.float64) -> dict[str, Found]:
    """Each case, by its name."""
    return dict(_each(mesh, cases, dtype))


def _each(mesh: DeviceMesh, cases: Sequence[Case], dtype: torch.dtype) -> Iterator[tuple[str, Found]]:
    for case in cases:
        with suppress(sparsec.SparsecError):  # random programs may hold no pair
            yield case.name, compare(mesh, case, dtype)


# ---------------------------------------------------------------- DTensors


def over_heads(mesh: DeviceMesh) -> float:
    """The largest difference of DTensors cut over heads and batches from one process, results and gradients."""
    generator, ranks, worst = torch.Generator().manual_seed(0), mesh.size(), 0.0
    for text, heads in (("past(5) | sinks(1)", None), ("causal & q - k <= 3 * (h + 1)", 2 * ranks)):
        attend = sparsec.compile(f"pattern p = {text}", heads=heads)
        for axis in (0, 1):
            sizes = 2 * ranks, ranks, ranks, 2 * ranks
            whole = [torch.randn(ranks, size, 21, SIZE, generator=generator) for size in sizes]
            plain = [x.clone().requires_grad_() for x in whole[:3]]
            out, lse = attend(*plain, return_lse=True)
            wanted = [out, lse, *torch.autograd.grad((out * whole[3]).sum(), plain)]
            cut = [distribute_tensor(x, mesh, [Shard(axis)]).requires_grad_() for x in whole[:3]]
            out, lse = sparsec.distributed.OverHeads(attend)(*cut, return_lse=True)
            g = distribute_tensor(whole[3], mesh, [Shard(axis)])
            found = [out, lse, *torch.autograd.grad((out * g).sum(), cut)]
            worst = max(worst, *((x.full_tensor() - y).abs().max().item() for x, y in zip(found, wanted, strict=True)))
    return worst


def steady(mesh: DeviceMesh) -> bool:
    """Whether a second step, forward and backward, never makes the host wait for the GPU; raises where it does."""
    attend = sparsec.compile("pattern p = past(100) | sinks(4)")
    reads = sparsec.compile("input doc: int[n] pattern p = past(100) & doc[q] == doc[k]")
    own = torch.randn(3, 1, 2, 512, 64, device="cuda", dtype=torch.bfloat16).unbind()
    tensors = [x.clone().requires_grad_() for x in own]
    documents = torch.tensor([0, 300, 1024], device="cuda", dtype=torch.int32)
    seed = torch.tensor([3], device="cuda")
    for operator, call in (
        (attend, {}),
        (attend, {"documents": documents}),
        (attend, {"dropout_p": 0.1, "dropout_seed": seed}),
        (reads, {"doc": torch.zeros(1024, device="cuda", dtype=torch.int32)}),
    ):
        sharded = sparsec.distributed.shard(operator, mesh)
        for step in range(2):
            with no_synchronisation() if step else nullcontext():
                torch.autograd.grad(sharded(*tensors, **call), tensors, own[0])
    return True
