"""Sharded calls with data: inputs, dropout, documents on the device, each compared with one process."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

import sparsec
import sparsec.distributed

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


def compare(mesh: DeviceMesh, case: DataCase) -> dict[str, tuple[float, float]]:
    """Forward, log-sum-exp and all gradients of this rank: the largest difference, and what rounding explains."""
    generator = torch.Generator().manual_seed(3)
    attend = case.attend()
    sharded = sparsec.distributed.shard(attend, mesh, case.layout)
    sizes = case.heads, case.key_heads, case.key_heads, case.heads
    q, k, v, g = (
        torch.randn(case.batch, heads, case.n, SIZE, generator=generator, dtype=torch.float64) for heads in sizes
    )
    g_lse = torch.randn(q.shape[:3], generator=generator, dtype=torch.float64)
    more = {"sinks": torch.randn(case.heads, generator=generator, dtype=torch.float64)} if case.sinks else {}
    data = data_of(case, attend, generator) | more
    real = {own.name for own in attend.pattern.nodes.score_inputs} | set(more)
    call: dict = {"dropout_p": case.dropout_p, "dropout_seed": 5} if case.dropout_p else {}

    def run(function, tensors: list[Tensor], g: Tensor, g_lse: Tensor, **call) -> dict[str, Tensor]:
        own = {name: x.clone().requires_grad_() for name, x in zip("qkv", tensors, strict=True)}
        given = {name: x.clone().requires_grad_() if name in real else x for name, x in data.items()}
        out, lse = function(*own.values(), return_lse=True, **given, **call)
        finite = torch.where(lse == float("-inf"), 0.0, lse)
        asked = own | {name: given[name] for name in sorted(real)}
        found = torch.autograd.grad((out * g).sum() + (finite * g_lse).sum(), list(asked.values()))
        return {"out": out, "lse": finite} | {f"d{name}": x for name, x in zip(asked, found, strict=True)}

    wanted = run(attend, [q, k, v], g, g_lse, **call, **_documents(case, case.documents))
    local = [sharded.local(x) for x in (q, k, v)]
    own_documents = case.documents if case.starts is None else None
    found = run(
        sharded, local, sharded.local(g), sharded.local(g_lse), n=case.n, **call, **_documents(case, own_documents)
    )
    report = {}
    for name, x in found.items():
        whole = name[1:] in real
        if whole:
            dist.all_reduce(x)
        y = wanted[name] if whole else sharded.local(wanted[name])
        scale = max(1.0, wanted[name].abs().max().item()) if wanted[name].numel() else 1.0
        difference = (x - y).abs().max().item() if x.numel() else 0.0
        report[name] = difference, 256 * torch.finfo(torch.float64).eps * scale
    return report


def _documents(case: DataCase, ends: Sequence[int] | None) -> dict[str, Tensor]:
    if case.starts is None:
        return {} if ends is None else {"documents": torch.tensor(ends, dtype=torch.int32)}
    rows = []
    for firsts in case.starts:
        begins = torch.zeros(case.n, dtype=torch.int32)
        begins[list(firsts)] = torch.tensor(firsts, dtype=torch.int32)
        rows.append(begins.cummax(0).values)
    return {"documents": torch.stack(rows).int()}


def all_of(mesh: DeviceMesh, cases: Sequence[DataCase]) -> dict[str, dict[str, tuple[float, float]]]:
    """Each case, by its name."""
    return dict(_each(mesh, cases))


def _each(mesh: DeviceMesh, cases: Sequence[DataCase]) -> Iterator[tuple[str, dict[str, tuple[float, float]]]]:
    for case in cases:
        with suppress(sparsec.SparsecError):  # random programs may hold no pair
            case.attend()
            yield case.name, compare(mesh, case)
