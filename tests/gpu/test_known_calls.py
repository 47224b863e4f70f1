"""What torch does around a call, beside calls that are known: results are those of torch's dispatcher."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from support.generated import attend_of, pattern_of
from torch import Tensor
from torch.utils.checkpoint import checkpoint

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

N = 1024
WINDOW = pattern_of("pattern p = past(100) | sinks(4)")
FORMS = ["", "documents"]


class Through(torch.overrides.TorchFunctionMode):
    """Looks at functions and changes nothing: calls go through torch's dispatcher."""

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        return function(*arguments, **(keywords or {}))


def drawn(seed: int = 0, dtype: torch.dtype = torch.bfloat16, device: str = "cuda") -> list[Tensor]:
    """q, k, v and a gradient."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return [torch.randn(1, 4, N, 64, generator=generator).to(device, dtype) for _ in range(4)]


def given_of(form: str, seed: int = 0, device: str = "cuda") -> dict[str, Tensor]:
    ends = torch.tensor([0, 300 + seed, 700, N - seed], device=device, dtype=torch.int32)
    return {"documents": ends} if form else {}


def training(attend: Callable, tensors: list[Tensor], **given: Any) -> list[Tensor]:
    """out and the gradients of q, k and v."""
    leaves = [x.detach().clone().requires_grad_() for x in tensors[:3]]
    out = attend(*leaves, **given)
    return [out.detach(), *torch.autograd.grad(out, leaves, tensors[3])]


def known(form: str = "", **more: Any) -> Callable:
    """An operator that knows calls of a form with gradients and without, the one with gradients as its last."""
    attend = attend_of(WINDOW)
    for graded in (False, True):
        for seed in range(4):
            tensors = drawn(seed, **more)
            with nullcontext() if graded else torch.no_grad():
                training(attend, tensors, **given_of(form)) if graded else attend(*tensors[:3], **given_of(form))
    return attend


def through(attend: Callable, tensors: list[Tensor], **given: Any) -> list[Tensor]:
    with Through():
        return training(attend, tensors, **given)


def assert_equal(found: list[Tensor], wanted: list[Tensor]) -> None:
    assert len(found) == len(wanted)
    assert all(map(torch.equal, found, wanted))


@pytest.mark.parametrize("form", FORMS)
def test_double_backward_is_refused(form: str) -> None:
    attend, given = known(form), given_of(form)
    tensors = drawn(7)
    leaves = [x.clone().requires_grad_() for x in tensors[:3]]
    found = torch.autograd.grad(attend(*leaves, **given), leaves, tensors[3], create_graph=True)
    assert_equal([x.detach() for x in found], through(attend, tensors, **given)[1:])
    with pytest.raises(RuntimeError, match="SP0607"):
        torch.autograd.grad(found[0].sum(), leaves)


@pytest.mark.parametrize("form", FORMS)
def test_saved_tensors_may_be_packed(form: str) -> None:
    """Also in a way that hands back other tensors than were saved, in other places."""
    attend, given = known(form), given_of(form)
    tensors, packed = drawn(5), []

    def pack(x: Tensor) -> Tensor:
        packed.append(x.shape)
        return x.cpu()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x.cuda()):
        found = training(attend, tensors, **given)
    assert len(packed) >= 5
    assert_equal(found, through(attend, tensors, **given))
    with torch.autograd.graph.save_on_cpu(pin_memory=True):
        assert_equal(training(attend, tensors, **given), found)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_checkpointing(form: str, reentrant: bool) -> None:
    attend, given, tensors = known(form), given_of(form), drawn(3)

    def again(*leaves: Tensor, **keywords: Any) -> Tensor:
        return checkpoint(lambda *x: attend(*x, **keywords) * 2, *leaves, use_reentrant=reentrant)

    def once(*leaves: Tensor, **keywords: Any) -> Tensor:
        with Through():
            return attend(*leaves, **keywords) * 2

    assert_equal(training_by_backward(again, tensors, **given), training_by_backward(once, tensors, **given))


def training_by_backward(attend: Callable, tensors: list[Tensor], **given: Any) -> list[Tensor]:
    """As `training`, by `backward`, which reentrant checkpoints need."""
    leaves = [x.detach().clone().requires_grad_() for x in tensors[:3]]
    out = attend(*leaves, **given)
    out.backward(tensors[3])
    return [out.detach(), *(x.grad for x in leaves)]


@pytest.mark.parametrize("form", FORMS)
def test_modes_of_gradients(form: str) -> None:
    """Calls under changing modes, one after the other, with leaves that ask for gradients."""
    attend, given = known(form), given_of(form, 5)
    tensors = drawn(2)
    wanted = through(attend, tensors, **given)
    leaves = [x.clone().requires_grad_() for x in tensors[:3]]
    for mode in 2 * [torch.no_grad, torch.enable_grad, torch.inference_mode, nullcontext, torch.no_grad]:
        with mode():
            out = attend(*leaves, **given)
        graded = mode in (torch.enable_grad, nullcontext)
        assert out.requires_grad == graded
        assert out.is_inference() == (mode is torch.inference_mode)
        assert torch.equal(out.detach(), wanted[0])
        if graded:
            assert_equal(list(torch.autograd.grad(out, leaves, tensors[3])), wanted[1:])
    with torch.inference_mode():
        inside = [x.clone() for x in tensors[:3]]
    with torch.no_grad():
        assert torch.equal(attend(*inside, **given), wanted[0])
    for asked in range(3):  # of one alone
        own = [x.clone().requires_grad_(place == asked) for place, x in enumerate(tensors[:3])]
        for _ in range(3):
            (found,) = torch.autograd.grad(attend(*own, **given), own[asked], tensors[3])
            assert torch.equal(found, wanted[1 + asked])


def test_gradients_of_the_log_sum_exp_too() -> None:
    """Whichever result is differentiated, in turns, and both twice over one graph."""
    attend, tensors = known(), drawn(6)
    rows = torch.randn(1, 4, N, generator=torch.Generator().manual_seed(1)).cuda()

    def gradients(use: str, twice: bool = False) -> list[Tensor]:
        leaves = [x.clone().requires_grad_() for x in tensors[:3]]
        results = dict(zip(("out", "lse"), attend(*leaves, return_lse=True), strict=True))
        upstream = {"out": tensors[3], "lse": rows}
        asked = [results[each] for each in use.split()], leaves, [upstream[each] for each in use.split()]
        found = torch.autograd.grad(*asked, retain_graph=True, allow_unused=True)
        if twice:
            assert_equal(list(torch.autograd.grad(*asked, allow_unused=True)), list(found))
        return [torch.zeros_like(tensors[2]) if x is None else x for x in found]

    for use in 3 * ["out", "lse", "out lse"]:
        found = gradients(use, twice=True)
        with Through():
            wanted = gradients(use)
        assert_equal(found, wanted)


def test_tensors_changed_in_place_are_noticed() -> None:
    attend, tensors = known(), drawn(6)
    leaves = [x.clone().requires_grad_() for x in tensors[:3]]
    q = leaves[0] * 1
    out = attend(q, *leaves[1:])
    q.detach().zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(out, leaves, tensors[3])
    out = attend(*leaves)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(out.mul_(2), leaves, tensors[3])


def test_autocast() -> None:
    attend, half, single = known(), drawn(1), drawn(1, torch.float32)
    for _ in range(3):
        with torch.autocast("cuda", torch.float16):
            found = attend(*single[:3])
        assert found.dtype == torch.float16
        with torch.autocast("cuda", torch.bfloat16):
            cast = training(attend, [*single[:3], half[3]])
        assert_equal(cast[:1], through(attend, half)[:1])
        assert [x.dtype for x in cast] == [torch.bfloat16, *[torch.float32] * 3]
        assert_equal(training(attend, half), through(attend, half))


@pytest.mark.parametrize("form", FORMS)
def test_compiled_beside_eager(form: str) -> None:
    attend, given = known(form), given_of(form)
    tensors, compiles = drawn(4), []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Callable:
        compiles.append(graph)
        return graph.forward

    compiled = torch.compile(attend, backend=backend, fullgraph=True)
    wanted = through(attend, tensors, **given)
    for _ in range(4):
        assert_equal(training(compiled, tensors, **given), wanted)
        assert_equal(training(attend, tensors, **given), wanted)
        with torch.no_grad():
            assert torch.equal(attend(*tensors[:3], **given), compiled(*tensors[:3], **given))
    assert len(compiles) == 2  # with gradients and without


@pytest.mark.parametrize("form", FORMS)
def test_a_graph_of_a_call_that_was_known_before(form: str) -> None:
    """Both passes in one CUDA graph, which takes new numbers in the same memory."""
    attend, given = known(form), given_of(form)
    tensors = [x.clone() for x in drawn(4)]
    leaves = [x.requires_grad_() for x in tensors[:3]]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            torch.autograd.grad(attend(*leaves, **given), leaves, tensors[3])
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = attend(*leaves, **given)
        found = [out, *torch.autograd.grad(out, leaves, tensors[3])]
    for seed in (4, 11, 12):
        for x, new in zip(tensors, drawn(seed), strict=True):
            x.detach().copy_(new)
        if given:
            given["documents"].copy_(given_of(form, seed)["documents"])
        graph.replay()
        assert_equal([x.detach() for x in found], through(attend, tensors, **given))
        assert_equal(training(attend, tensors, **given), through(attend, tensors, **given))


MOVED = {
    "documents": ("pattern p = past(100) | sinks(4)", torch.tensor([0, 300, 700, N], dtype=torch.int32)),
    "doc": ("input doc: int[n] pattern p = causal & doc[q] == doc[k]", torch.arange(N, dtype=torch.int32) // 100),
    "wide": ("input wide: int[n] pattern p = causal & wide[q] == wide[k]", torch.arange(N) // 100),
    "on": ("input on: bool[n] pattern p = causal & on[k]", torch.arange(N) % 3 > 0),
    "w": ("input w: int pattern p = causal & q - k < w", torch.tensor(77, dtype=torch.int32)),
    "sinks": ("pattern p = past(100)", torch.linspace(-1, 1, 4)),
}


@pytest.mark.parametrize("name", MOVED)
def test_tensors_that_begin_between(name: str) -> None:
    """Not at a multiple of 16 bytes, as those did that the kernels were compiled for."""
    text, x = MOVED[name]
    attend, tensors, x = attend_of(pattern_of(text)), drawn(5), x.cuda()
    for _ in range(4):
        training(attend, tensors, **{name: x})
        with torch.no_grad():
            wanted = attend(*tensors[:3], **{name: x})
    moved = torch.cat([x.flatten()[:1], x.flatten()])[1:].view(x.shape)
    for _ in range(2):
        with torch.no_grad():
            assert torch.equal(attend(*tensors[:3], **{name: moved}), wanted)
        found = training(attend, tensors, **{name: moved})
        assert_equal(found, through(attend, tensors, **{name: moved}))
        assert torch.equal(found[0], wanted)


def test_documents_of_other_numbers() -> None:
    """Tables of equally many lines share what is known, others do not; more documents than one program sums, too."""
    attend, tensors = known("documents"), drawn(4)
    for count in (3, 5, 1, 11, 14, 200, 2, 14, 1021, 1022, 1500, 3):
        ends = torch.linspace(0, N, count + 1).round().to("cuda", torch.int32)
        assert_equal(training(attend, tensors, documents=ends), through(attend, tensors, documents=ends))
    ends = torch.tensor([], device="cuda", dtype=torch.int32)
    with pytest.raises(ValueError, match="SP0612"):
        attend(*tensors[:3], documents=ends)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("form", FORMS)
def test_another_device(form: str) -> None:
    """Whichever is current."""
    attend = known(form)
    wanted = through(attend, drawn(3), **given_of(form))
    for current in (0, 1, 0):
        for device in ("cuda:1", "cuda:0", "cuda:1", "cuda:1"):
            with torch.cuda.device(current):
                found = training(attend, drawn(3, device=device), **given_of(form, device=device))
            assert {str(x.device) for x in found} == {device}
            assert all(torch.equal(x.cpu(), y.cpu()) for x, y in zip(found, wanted, strict=True))
