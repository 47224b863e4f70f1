"""Sharded calls with data: inputs, dropout, documents on the device, each compared with one process."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

import sparsec
import sparsec.distributed
from support import sharded

SIZE = 16


@dataclass(frozen=True)
class DataCase:
    """A file of the language with a pattern, and a call; `documents` as given, or "start": of each token."""

    text: str
    n: int
    heads: int = 2
    key_heads: int = 2
    layout: str = "contiguous"
    batch: int = 1
    dropout_p: float = 0.0
    documents: tuple[int, ...] | None = None
    starts: tuple[tuple[int, ...], ...] | None = None  # where documents of each row of the batch begin
    sinks: bool = False
    by_head: bool = False

    @property
    def name(self) -> str:
        return f"{self.text.strip()}, {self.layout}, n = {self.n}, {self.documents or self.starts or 'one document'}"

    def attend(self) -> sparsec.Attend:
        with warnings.catch_warnings():  # that rows have no key
            warnings.simplefilter("ignore", sparsec.PatternWarning)
            return sparsec.compile(self.text, heads=self.heads if self.by_head else None)


def data_of(case: DataCase, attend: sparsec.Attend, generator: torch.Generator) -> dict[str, Tensor]:
    """Tensors for all inputs of a pattern, in float64, and without gradients."""
    sizes = {"B": case.batch, "H": case.heads, "G": case.key_heads, "n": case.n, "D": SIZE}
    nodes, found = attend.pattern.nodes, {}
    for own in (*nodes.inputs, *nodes.score_inputs, *nodes.choice_inputs):
        if own.choice is not None:
            continue
        blocks = -(-case.n // own.sizes[1])
        more = {"rows": -(-case.n // own.sizes[0]), "blocks": blocks}
        shape = [int(axis) if axis.isdigit() else (sizes | more).get(axis, 5) for axis in own.axes]
        if own.kind in ("float", "scores", "centroids"):
            found[own.name] = torch.randn(shape, generator=generator, dtype=torch.float64)
        else:
            highest = blocks if own.is_chosen else 2 if own.kind == "bool" else 3
            x = torch.randint(-1 if own.is_chosen else 0, highest, shape, generator=generator)
            found[own.name] = x.bool() if own.kind == "bool" else x
    return found


Differences = dict[str, tuple[float, float]]  # of each result the largest difference, and what rounding explains


def compare(mesh: DeviceMesh, case: DataCase, dtype: torch.dtype = torch.float64) -> Differences:
    """Forward, log-sum-exp and all gradients of this rank against one process in float64 on the CPU.

    In other types within twice the difference that one process has in them.
    """
    generator = torch.Generator().manual_seed(3)
    attend = case.attend()
    over_ranks = sparsec.distributed.shard(attend, mesh, case.layout)
    sizes = case.heads, case.key_heads, case.key_heads, case.heads
    drawn = [torch.randn(case.batch, heads, case.n, SIZE, generator=generator, dtype=torch.float64) for heads in sizes]
    drawn = [x.to(dtype).double() for x in drawn]
    g_lse = torch.randn(drawn[0].shape[:3], generator=generator, dtype=torch.float64)
    sinks = {"sinks": torch.randn(case.heads, generator=generator, dtype=torch.float64)} if case.sinks else {}
    data = data_of(case, attend, generator) | sinks
    real = {own.name for own in attend.pattern.nodes.score_inputs if own.kind == "float"} | set(sinks)
    call: dict = {"dropout_p": case.dropout_p, "dropout_seed": 5} if case.dropout_p else {}

    def run(function: Any, tensors: list[Tensor], g_lse: Tensor, device: str, dtype: torch.dtype, **call: Any) -> dict:
        q, k, v, g = (x.to(device, dtype) for x in tensors)
        own = {name: x.clone().requires_grad_() for name, x in zip("qkv", (q, k, v), strict=True)}
        given = {name: x.to(device) for name, x in data.items()}
        given |= {name: given[name].to(torch.promote_types(dtype, torch.float32)).requires_grad_() for name in real}
        out, lse = function(*own.values(), return_lse=True, **given, **call, **documents_of(case, device))
        finite = torch.where(lse == float("-inf"), 0.0, lse)
        asked = own | {name: given[name] for name in sorted(real)}
        found = torch.autograd.grad((out * g).sum() + (finite * g_lse.to(lse)).sum(), list(asked.values()))
        return {"out": out, "lse": finite} | {f"d{name}": x for name, x in zip(asked, found, strict=True)}

    device = mesh.device_type
    wanted = run(attend, drawn, g_lse, "cpu", torch.float64, **call)
    rounded = wanted if dtype == torch.float64 else run(attend, drawn, g_lse, device, dtype, **call)
    local = [over_ranks.local(x) for x in drawn]
    found = run(over_ranks, local, over_ranks.local(g_lse), device, dtype, n=case.n, **call)
    report = {}
    for name, x in found.items():
        y, whole = wanted[name], name[1:] in real
        if whole:
            dist.all_reduce(x)
        own = y if whole else over_ranks.local(y)
        difference = (x.cpu().double() - own).abs().max().item() if x.numel() else 0.0
        allowed = 256 * torch.finfo(torch.promote_types(dtype, torch.float32)).eps * y.abs().max().item()
        report[name] = difference, allowed + 2 * (rounded[name].cpu().double() - y).abs().max().item()
    return report


def documents_of(case: DataCase, device: str) -> dict[str, Tensor]:
    """How a call says them: on a GPU, and as starts, a sharded call does not know them on the host."""
    if case.starts is None:
        return (
            {} if case.documents is None else {"documents": torch.tensor(case.documents, dtype=torch.int32).to(device)}
        )
    rows = []
    for firsts in case.starts:
        begins = torch.zeros(case.n, dtype=torch.int32)
        begins[list(firsts)] = torch.tensor(firsts, dtype=torch.int32)
        rows.append(begins.cummax(0).values)
    return {"documents": torch.stack(rows).int().to(device)}


def all_of(mesh: DeviceMesh, cases: Sequence[DataCase], dtype: torch.dtype = torch.float64) -> dict[str, Differences]:
    """Each case, by its name."""
    return dict(_each(mesh, cases, dtype))


def _each(mesh: DeviceMesh, cases: Sequence[DataCase], dtype: torch.dtype) -> Iterator[tuple[str, Differences]]:
    for case in cases:
        with suppress(sparsec.SparsecError):  # random programs may hold no pair, or be cut within blocks of queries
            yield case.name, compare(mesh, case, dtype)


def everything(
    mesh: DeviceMesh, cases: Sequence[sharded.Case], data: Sequence[DataCase], dtype: torch.dtype
) -> tuple[dict[str, sharded.Found], dict[str, Differences], bool]:
    """All that is asked of two GPUs."""
    return sharded.all_of(mesh, cases, dtype), all_of(mesh, data, dtype), sharded.steady(mesh)
