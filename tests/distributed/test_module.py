"""The module around a sharded call: torch's compiler and checkpoints, copies, what is refused, peers that fail."""

from __future__ import annotations

import copy
import os
import runpy
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from support.group import everywhere
from support.sharded import over_heads
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.utils.checkpoint import checkpoint

import sparsec
import sparsec.distributed
from sparsec.distributed.heads import of_heads
from sparsec.ir.reference import mask


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    """Of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def gradients(function, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    own = [x.clone().requires_grad_() for x in tensors]
    return torch.autograd.grad(function(*own).sin().sum(), own)


def test_compiled_and_checkpointed(mesh: DeviceMesh) -> None:
    sharded = sparsec.distributed.shard(sparsec.compile("pattern p = past(9) | sinks(2)"), mesh, "head-tail")
    tensors = torch.randn(3, 1, 2, 40, 16, dtype=torch.float64).unbind()
    plain = gradients(sharded, *tensors)
    again = gradients(lambda *x: checkpoint(sharded, *x, use_reentrant=False), *tensors)
    graph = gradients(torch.compile(sharded, fullgraph=True, backend="aot_eager"), *tensors)
    copied = gradients(copy.deepcopy(sharded), *tensors)
    for found in (again, graph, copied):
        assert all(map(torch.equal, found, plain))


def test_second_derivatives_are_refused(mesh: DeviceMesh) -> None:
    sharded = sparsec.distributed.shard(sparsec.compile("pattern p = past(9)"), mesh)
    q, k, v = torch.randn(3, 1, 2, 40, 16, requires_grad=True).unbind()
    [dq] = torch.autograd.grad(sharded(q, k, v).sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="SP0607"):
        dq.sum().backward()


def test_what_is_refused(mesh: DeviceMesh) -> None:
    attend = sparsec.compile("pattern p = past(9)")
    sharded = sparsec.distributed.shard(attend, mesh)
    q, k, v = torch.randn(3, 1, 2, 40, 16).unbind()
    routed = sparsec.compile("input mu: centroids[4] pattern p = causal & routed(mu, 3)")
    listed = sparsec.compile("input a: blocks[16, 8, t] pattern p = causal & selected(a)")
    lists = torch.zeros(1, 1, 3, 2, dtype=torch.int32)
    for call in (
        lambda: sparsec.distributed.shard(attend, mesh, "ring"),
        lambda: sparsec.distributed.shard(routed, mesh),
        lambda: sharded(q, k, v, n=41),
        lambda: sharded(q[:, :, :8], k, v),
        lambda: sharded(q, k, v, documents=[0, 30, 20, 40]),
        lambda: sharded(q, k, v, documents=[1, 40]),
        lambda: sharded(q, k, v, dropout_p=0.1),
    ):
        with pytest.raises(sparsec.SparsecError, match="SP0630"):
            call()
    for call, code in (
        (lambda: sharded(q, k, v, documents=torch.tensor([0, 40], device="meta")), "SP0603"),
        (lambda: sharded(q, k, v, doc=torch.zeros(40)), "SP0620"),
        (lambda: sparsec.distributed.shard(listed, mesh)(q, k, v, documents=[0, 9, 40], a=lists), "SP0622"),
    ):
        with pytest.raises(ValueError, match=code):
            call()
    with pytest.raises(TypeError, match="sharded, not function"):
        sparsec.distributed.shard(lambda q, k, v: q, mesh)


def test_where_a_rank_stands(mesh: DeviceMesh) -> None:
    sharded = sparsec.distributed.shard(sparsec.compile("pattern p = past(9)"), mesh, "head-tail")
    assert sharded.positions(5).tolist() == [0, 1, 2, 3, 4]
    assert sharded.local(torch.arange(5), dim=0).tolist() == [0, 1, 2, 3, 4]
    assert sharded.traffic(5, key_heads=2).tolist() == [[0]]
    assert "p(), layout='head-tail', rank 0 of 1" in repr(sharded)


def test_scales_and_types(mesh: DeviceMesh) -> None:
    attend = sparsec.compile("pattern p = past(9)")
    sharded = sparsec.distributed.shard(attend, mesh)
    q, k, v = torch.randn(3, 1, 2, 40, 16).unbind()
    for scale in (0.3, -0.3, 0.0):
        exact = attend(q.double(), k.double(), v.double(), scale=scale)
        error = (attend(q, k, v, scale=scale) - exact).abs().max()
        assert (sharded(q, k, v, scale=scale) - exact).abs().max() <= 2 * error
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(sharded(q, k, v), attend(q, k, v))


def test_a_dimension_of_a_mesh(mesh: DeviceMesh) -> None:
    attend, several = (
        sparsec.compile("pattern p = past(9)"),
        init_device_mesh("cpu", (1, 1), mesh_dim_names=("dp", "cp")),
    )
    q, k, v = torch.randn(3, 1, 2, 40, 16).unbind()
    assert torch.equal(sparsec.distributed.shard(attend, several, dim="cp")(q, k, v), attend(q, k, v))
    with pytest.raises(sparsec.SparsecError, match="SP0630"):
        sparsec.distributed.shard(attend, several)


@pytest.mark.parametrize("steps", [2, pytest.param(40, marks=pytest.mark.full)])
def test_the_example_learns(mesh: DeviceMesh, steps: int) -> None:
    example = Path(__file__).parents[2] / "examples" / "train_sharded.py"
    losses = runpy.run_path(str(example))["train"](mesh, steps)
    assert len(losses) == steps
    assert steps < 40 or losses[-1] < losses[0] / 2


def lost(mesh: DeviceMesh, passes: int, text: str, **call: Any) -> str:
    """Rank 1 is killed after some passes, forward and backward in turn; what rank 0 gets to know."""
    sharded = partial(sparsec.distributed.shard(sparsec.compile(text), mesh), **call)
    tensors = [x.requires_grad_() for x in torch.randn(3, 1, 2, 40, 16).unbind()]
    out = sharded(*tensors)
    if passes == 2:
        torch.autograd.grad(out.sum(), tensors, retain_graph=True)
    if mesh.get_local_rank() == 1:
        os._exit(0)  # an end that destroys nothing
    try:
        torch.autograd.grad(out.sum(), tensors) if passes == 1 else sharded(*tensors)
    except RuntimeError as error:
        return str(error)
    return ""


PLAIN = "pattern p = past(9)"
READS = "input doc: int[n] pattern p = past(9) & doc[q] == doc[k]"


@pytest.mark.parametrize(
    ("passes", "text", "call"),
    [
        (1, PLAIN, {}),
        (2, READS, {"doc": torch.zeros(80, dtype=torch.int32)}),
        pytest.param(2, PLAIN, {}, marks=pytest.mark.full),
        pytest.param(1, READS, {"doc": torch.zeros(80, dtype=torch.int32)}, marks=pytest.mark.full),
        pytest.param(1, PLAIN, {"dropout_p": 0.1, "dropout_seed": 3}, marks=pytest.mark.full),
        pytest.param(2, PLAIN, {"documents": torch.zeros(1, 80, dtype=torch.int32)}, marks=pytest.mark.full),
    ],
)
def test_a_lost_peer_is_an_error_of_torch(tmp_path: Path, passes: int, text: str, call: dict) -> None:
    [told] = everywhere(2, tmp_path, partial(lost, **call), passes, text, answers=1)
    assert "SP0" not in told
    assert told


def late(mesh: DeviceMesh, text: str, **call: Any) -> str:
    """Rank 1 stays away from a call that rank 0 makes; what rank 0 gets to know."""
    if mesh.get_local_rank() == 1:
        time.sleep(6)
        os._exit(0)
    q, k, v = torch.randn(3, 1, 2, 40, 16).unbind()
    try:
        sparsec.distributed.shard(sparsec.compile(text), mesh)(q, k, v, **call)
    except RuntimeError as error:
        return str(error)
    return ""


@pytest.mark.full
@pytest.mark.parametrize(("text", "call"), [(PLAIN, {}), (READS, {"doc": torch.zeros(80, dtype=torch.int32)})])
def test_a_time_out_is_an_error_of_torch(tmp_path: Path, text: str, call: dict) -> None:
    [told] = everywhere(2, tmp_path, partial(late, **call), text, answers=1, seconds=2)
    assert "SP0" not in told
    assert "time" in told.lower()


@pytest.mark.full
def test_dtensors_over_heads_and_batches(tmp_path: Path) -> None:
    """Patterns by head, too: each rank has the heads that are its own."""
    assert max(everywhere(2, tmp_path, over_heads)) < 1e-5


def test_some_heads_are_rows_of_the_mask() -> None:
    pattern = sparsec.compile("pattern p = causal & q - k <= 2 * (h % 3)", heads=6).pattern.nodes
    whole, some = (
        np.array([mask(each.conditions[number], 9, 9) for number in each.head_conditions])
        for each in (pattern, of_heads(pattern, range(2, 5)))
    )
    assert (whole[2:5] == some).all()


def test_dtensors_cut_otherwise_are_refused(mesh: DeviceMesh) -> None:
    heads = sparsec.distributed.OverHeads(sparsec.compile("pattern p = past(9)"))
    x = torch.randn(1, 2, 40, 16)
    cut, whole = distribute_tensor(x, mesh, [Shard(2)]), distribute_tensor(x, mesh, [Replicate()])
    assert torch.equal(heads(whole, whole, whole).to_local(), heads.attend(x, x, x))
    for tensors in ((cut, cut, cut), (whole, cut, whole)):
        with pytest.raises(sparsec.SparsecError, match="SP0630"):
            heads(*tensors)
    with pytest.raises(TypeError, match="DTensor"):
        heads(x, x, x)


def test_dtensors_with_dropout(mesh: DeviceMesh) -> None:
    heads = sparsec.distributed.OverHeads(sparsec.compile("pattern p = past(9)"))
    x = torch.randn(1, 2, 40, 16)
    whole, call = distribute_tensor(x, mesh, [Replicate()]), {"dropout_p": 0.2, "dropout_seed": 3}
    assert torch.equal(heads(whole, whole, whole, **call).to_local(), heads.attend(x, x, x, **call))
    with pytest.raises(sparsec.SparsecError, match=r"SP0630.*dropout_p"):
        heads(whole, whole, whole, dropout_p=0.2)
