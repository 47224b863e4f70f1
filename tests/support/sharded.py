"""Sharded calls in several processes, each compared with one process over the whole sequence."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Shard, distribute_tensor

import sparsec
import sparsec.distributed
from sparsec.distributed import Sharded
from sparsec.show.ranks import over_ranks
from support.calls import no_synchronisation
from support.group import in_time

SIZE = 16
_PARTS = 4  # roundings of a result: of own keys, of those before and behind them, and of the sum; one process has one


@dataclass(frozen=True)
class Case:
    """A text of the language with a pattern `p`, or its condition, and a call.

    `documents` are integers, or a tensor on the device of q where they are `on_device`; `starts` say the same for each
    row of the batch: a tensor with the start of each token's document.
    """

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
    starts: tuple[tuple[int, ...], ...] | None = None
    on_device: bool = False
    dropout_p: float = 0.0

    @property
    def name(self) -> str:
        more = f", {self.documents or self.starts}" if self.documents or self.starts else ""
        return f"{self.text.strip()}, {self.layout}, n = {self.n}, values of {self.v_head_size}{more}"

    def attend(self) -> sparsec.Attend:
        text = self.text if "pattern p" in self.text else f"pattern p = {self.text}"
        with warnings.catch_warnings():  # that rows have no key
            warnings.simplefilter("ignore", sparsec.PatternWarning)
            return sparsec.compile(text, heads=self.heads if self.by_head else None)

    def given(self, device: str) -> dict[str, Any]:
        """Documents and dropout, as a call says them."""
        found: dict[str, Any] = {"dropout_p": self.dropout_p, "dropout_seed": 5} if self.dropout_p else {}
        if self.starts is not None:
            begins = torch.zeros(self.batch, self.n, dtype=torch.int32)
            for row, firsts in zip(begins, self.starts, strict=True):
                row[list(firsts)] = torch.tensor(firsts, dtype=torch.int32)
            return found | {"documents": begins.cummax(1).values.int().to(device)}
        if self.documents is None:
            return found
        documents = torch.tensor(self.documents, dtype=torch.int32, device=device if self.on_device else "cpu")
        return found | {"documents": documents}


@dataclass
class Found:
    """What a rank found: the largest differences, with what is allowed, and whether a second call gave the same bits.

    Where the pattern alone decides, keys of all key heads that it received, that its queries see elsewhere, that were
    predicted, and that `show` draws (None of documents and of patterns by head).
    """

    differences: dict[str, tuple[float, float]] = field(default_factory=dict)
    repeats: bool = True
    received: int = 0
    needed: int = 0
    predicted: int = 0
    drawn: int | None = None

    def problems(self, name: str) -> list[str]:
        """What is wrong, in words; nothing."""
        found = [
            f"{of} of {name}: {difference} where {allowed} is allowed"
            for of, (difference, allowed) in self.differences.items()
            if not difference <= allowed
        ]
        counts = self.received, self.needed, self.predicted, self.drawn
        if len({each for each in counts if each is not None}) > 1:
            found.append(f"keys received, needed, predicted, drawn of {name}: {counts}")
        return found if self.repeats else [*found, f"{name} is not the same bit for bit"]


# ---------------------------------------------------------------- dense


def dense(
    attend: sparsec.Attend, mask: Tensor, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """out and lse, by the definition; `mask` [n, n] or [H, n, n]."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = q @ k.mT * q.shape[-1] ** -0.5
    if score := attend.pattern.score_mod(k.shape[2], q.shape[1]):
        head, row, column = (torch.arange(size, device=q.device) for size in scores.shape[1:])
        scores = score(scores, 0, head[:, None, None], row[:, None], column)
    scores = scores.masked_fill(~mask, float("-inf"))
    if sinks is not None:
        column = sinks.to(scores.dtype).view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
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


def inputs_of(case: Case, attend: sparsec.Attend, generator: torch.Generator) -> dict[str, Tensor]:
    """Tensors for all inputs of a pattern; those of float in float64."""
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


def compare(mesh: DeviceMesh, case: Case, dtype: torch.dtype = torch.float64) -> Found:
    """Forward, log-sum-exp and all gradients of this rank, and what was received, counted.

    Against dense attention, or where data decide or weights are dropped against one process, in float64 on the CPU; in
    other types within as many times the difference that this has in them as results of parts are rounded.
    """
    generator, device = torch.Generator().manual_seed(1), mesh.device_type
    attend = case.attend()
    sharded = sparsec.distributed.shard(attend, mesh, case.layout)
    nodes = attend.pattern.nodes
    with_data = bool(nodes.inputs or nodes.score_inputs or case.dropout_p or case.starts or case.on_device)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).double()

    heads, sizes = (case.heads, case.key_heads, case.key_heads, case.heads), (SIZE, SIZE, *(case.v_head_size,) * 2)
    tensors = [drawn(case.batch, count, case.n, size) for count, size in zip(heads, sizes, strict=True)]
    tensors.append(drawn(case.batch, case.heads, case.n))
    data = inputs_of(case, attend, generator) | ({"sinks": drawn(case.heads)} if case.sinks else {})
    real = {own.name for own in nodes.score_inputs if own.kind == "float"} | ({"sinks"} if case.sinks else set())

    def run(function: Callable, tensors: Iterable[Tensor], device: str, dtype: torch.dtype, **call: Any) -> dict:
        exact = torch.promote_types(dtype, torch.float32)
        q, k, v, g, g_lse = (x.to(device, dtype) for x in tensors)
        own = {name: x.clone().requires_grad_() for name, x in zip("qkv", (q, k, v), strict=True)}
        given = {name: x.to(device) for name, x in data.items()}
        given |= {name: given[name].to(exact).clone().requires_grad_() for name in real}
        out, lse = function(*own.values(), **given, **call)
        finite = torch.where(lse == float("-inf"), 0.0, lse)
        asked = own | {name: given[name] for name in sorted(real)}
        found = torch.autograd.grad((out * g).sum() + (finite * g_lse.to(lse)).sum(), list(asked.values()))
        return {"out": out, "lse": finite} | {f"d{name}": x for name, x in zip(asked, found, strict=True)}

    def whole(device: str, dtype: torch.dtype) -> dict:
        if with_data:
            return run(attend, tensors, device, dtype, return_lse=True, **case.given(device))
        return run(lambda *x, **sinks: dense(attend, mask.to(device), *x, **sinks), tensors, device, dtype)

    def over() -> dict:
        call = {"n": case.n, "return_lse": True} | case.given(device)
        found = run(sharded, map(sharded.local, tensors), device, dtype, **call)
        for name in real:
            dist.all_reduce(found[f"d{name}"])
        return found

    mask = torch.from_numpy(np.zeros(0, bool) if with_data else kept(attend, case.n, case.documents))
    wanted = whole("cpu", torch.float64)
    rounded = wanted if dtype == torch.float64 else whole(device, dtype)
    found, again = over(), over()
    report = Found(repeats=all(torch.equal(x, again[name]) for name, x in found.items()))
    for name, x in found.items():
        own = wanted[name] if name[1:] in real else sharded.local(wanted[name])
        size, eps = wanted[name].abs().max().item(), torch.finfo(torch.promote_types(dtype, torch.float32)).eps
        allowed = 256 * eps * size + _PARTS * (rounded[name].cpu().double() - wanted[name]).abs().max().item()
        report.differences[name] = (x.cpu().double() - own).abs().max().item() if x.numel() else 0.0, allowed
    if not with_data:
        report.received, report.needed, report.predicted = traffic(mesh, case, sharded, mask.numpy())
        if case.documents is None and not case.by_head:
            shown = over_ranks(nodes, case.n, mesh.size(), case.layout).traffic[mesh.get_local_rank()]
            report.drawn = case.batch * case.key_heads * int(shown.sum())
    return report


def traffic(mesh: DeviceMesh, case: Case, sharded: Sharded, mask: np.ndarray) -> tuple[int, int, int]:
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
    """Each case, by its name, but for those that can't be had: random programs may hold no pair, or be cut within
    blocks of queries.
    """
    found = {}
    for case in cases:
        with suppress(sparsec.SparsecError):
            found[case.name] = compare(mesh, case, dtype)
    return found


def all_in_time(mesh: DeviceMesh, cases: Sequence[Case], dtype: torch.dtype, seconds: float) -> dict[str, Found]:
    """Each case, by its name, none of which may take longer than some seconds; then `steady`, on GPUs."""
    found = {case.name: compare(mesh, case, dtype) for case in in_time(mesh, cases, seconds, lambda case: case.name)}
    for check in in_time(mesh, [steady] if mesh.device_type == "cuda" else [], seconds, lambda check: check.__name__):
        check(mesh)
    return found


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


def steady(mesh: DeviceMesh) -> None:
    """A second step, forward and backward, never makes the host wait for the GPU; it raises where it does."""
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
