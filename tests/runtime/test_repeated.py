"""Calls like one before, without a GPU: which are taken for known, and how much Python a warm call is."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.caches import cached, decoder_of, random_sequences
from support.generated import module_of, pattern_of
from support.no_gpu import Launched, remember, warm_calls
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import sparsec
from sparsec.kernels.decode import call as decode_call
from sparsec.kernels.dispatch.watched import likeness
from sparsec.kernels.operator.known_call import Form, KnownCall
from sparsec.kernels.operator.repeated import Repeated
from sparsec.kernels.program.arguments import Call
from sparsec.kernels.sequences.positions import Positions
from sparsec.kernels.sequences.table import lines_of, numbers_of_entries

N = 64
WINDOW = pattern_of("pattern p = past(20)")
DISTANCE = "input w: int pattern p = causal & q - k < w"
SAME = "input doc: int[n] pattern p = causal & doc[q] == doc[k]"
MARKED = "input on: bool[n] pattern p = causal & on[k]"


# ---------------------------------------------------------------- signatures


def tensors(dtype: torch.dtype = torch.bfloat16, n: int = N) -> list[Tensor]:
    return [torch.zeros(1, 2, n, 16, dtype=dtype) for _ in range(3)]


def a_call(
    q: Tensor, k: Tensor, v: Tensor, scale: Any = None, sinks: Any = None, w: Any = None, deterministic: Any = True,
    **positions: Any,
) -> tuple:  # fmt: skip
    """What a signature is of."""
    return q, k, v, (scale, *Positions(**positions), sinks, deterministic), {} if w is None else {"w": w}


def transposed(x: Tensor) -> Tensor:
    return x.transpose(1, 2).contiguous().transpose(1, 2)


def by_name() -> dict[str, Callable[[], tuple]]:
    """Calls that differ in one thing."""
    lengths, starts = torch.tensor([N], dtype=torch.int32), torch.tensor([0, N], dtype=torch.int32)

    def of(change: Callable[[list[Tensor]], Any] = lambda x: None, **more: Any) -> Callable[[], tuple]:
        def made() -> tuple:
            own = tensors()
            change(own)
            return a_call(*own, **more)

        return made

    def put(place: int, to: Callable[[Tensor], Tensor]) -> Callable[[list[Tensor]], Any]:
        return lambda own: own.__setitem__(place, to(own[place]))

    return {
        "plain": of(),
        "scale": of(scale=0.5),
        "an integer for a scale": of(scale=1),
        "scale 1": of(scale=1.0),
        "no scale": of(scale="1"),
        "a bool": of(q_offset=True),
        "one": of(q_offset=1),
        "a number": of(q_offset=1.0),
        "short": lambda: a_call(*tensors(n=32)),
        "half": lambda: a_call(*tensors(torch.float16)),
        "single": lambda: a_call(*tensors(torch.float32)),
        "other strides": of(put(1, transposed)),
        "a gradient": of(put(2, lambda x: x.requires_grad_())),
        "a parameter": of(put(0, torch.nn.Parameter)),
        "the same twice": lambda: a_call(*tensors()[:1] * 3),
        "meta": of(put(1, lambda x: x.to("meta"))),
        "lengths": of(lengths=lengths),
        "lengths of int64": of(lengths=lengths.long()),
        "lengths with gaps": of(lengths=torch.zeros(1, 2, dtype=torch.int32)[:, 0].expand(1)),
        "q_lengths": of(q_lengths=lengths),
        "documents": of(documents=starts),
        "other documents": of(documents=torch.tensor([0, 3, 9], dtype=torch.int32)),
        "many documents": of(documents=torch.arange(40, dtype=torch.int32)),
        "no documents": of(documents=starts[:0]),
        "documents in one dimension more": of(documents=starts[None]),
        "a list": of(documents=[0, N]),
        "an offset": of(lengths=lengths, k_offset=2),
        "sinks": of(sinks=torch.zeros(2)),
        "learned sinks": of(sinks=torch.zeros(2, requires_grad=True)),
        "sinks in half": of(sinks=torch.zeros(2).half()),
        "in any order": of(deterministic=False),
        "an integer for deterministic": of(deterministic=1),
        "an input": of(w=torch.tensor(3)),
        "a number for an input": of(w=3),
    }


CALLS = by_name()


class Through(torch.overrides.TorchFunctionMode):
    """Looks at functions and changes nothing."""

    def __torch_function__(self, function: Any, types: Any, arguments: tuple = (), keywords: Any = None) -> Any:
        return function(*arguments, **(keywords or {}))


STATES: dict[str, Callable[[], AbstractContextManager]] = {
    "": nullcontext,
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "counted": lambda: FlopCounterMode(display=False),
    "a mode of functions": Through,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "forward derivatives": torch.autograd.forward_ad.dual_level,
}


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([*CALLS]), st.sampled_from(["", "", "", *STATES]), st.integers(1, 3)), max_size=6
    )
)
def test_signatures_do_not_depend_on_the_calls_before(drawn: list[tuple[str, str, int]]) -> None:
    """Those that are asked for in C are those that Python finds."""
    asked = Knowing()
    for name, state, times in drawn:
        for _ in range(times):
            with STATES[state]():
                asked.call(*CALLS[name]())


class Knowing(Repeated):
    """Knows calls after the first one, and runs nothing."""

    def __init__(self) -> None:
        super().__init__(module_of(WINDOW)._PROGRAM, lambda *_: None)
        self.served = 0  # calls that were compared in C

    def call(self, *call: Any) -> None:
        """As an operator asks."""
        signature, ran = self.signature(*call), self.again(*call, True)
        if ran:
            assert ran[0] == signature
            self.served += 1
        elif signature and not self.run(signature, *call):
            q, k, v, given, inputs = call
            known = KnownCall(self.program, signature, Form.of(given, inputs), given, Call(q, k, v, 0.5), None, True)
            self.known[signature] = known

    def _run(self, known: KnownCall, *call: Any) -> Any:
        return known.signature, None


def test_calls_are_compared_in_c() -> None:
    """From the fourth one on, also of other documents, unless something differs that Python alone can tell."""
    never = {"single", "the same twice"}
    for name, call in CALLS.items():
        asked = Knowing()
        for _ in range(5):
            asked.call(*call())
        assert asked.served == (2 if asked.known and name not in never else 0), name
    asked = Knowing()
    for name in ["documents"] * 3 + ["other documents", "many documents", "documents"]:
        asked.call(*CALLS[name]())
    assert (asked.served, len(asked.known)) == (1, 2)


def test_documents_of_equally_many_lines_share_what_is_known() -> None:
    lines = {count: lines_of(torch.zeros(count)) for count in range(1, 200)}
    for each in set(lines.values()) - {max(lines.values())}:
        assert [*numbers_of_entries(each)] == [count for count, own in lines.items() if own == each]


def test_calls_that_differ_have_different_signatures() -> None:
    asked = Repeated(module_of(WINDOW)._PROGRAM, lambda *_: None)
    found = {name: asked.signature(*call()) for name, call in CALLS.items()}
    none = {"an integer for a scale", "no scale", "a bool", "a number", "a parameter", "a list", "sinks in half"}
    none |= {"a number for an input", "an integer for deterministic"}
    assert {name for name, signature in found.items() if signature is None} == none
    known = [signature for name, signature in found.items() if name not in none]
    same = [{"plain", "the same twice"}, {"documents", "other documents"}]
    assert len(set(known)) == len(known) - sum(len(each) - 1 for each in same)
    assert all(len({found[name] for name in each}) == 1 for each in same)
    for state in STATES.values():
        with state():
            assert asked.signature(*CALLS["plain"]()) in (None, found["plain"]) or not torch.is_grad_enabled()


def test_transforms_see_calls() -> None:
    """Also where the call before was the same."""
    asked, seen = Repeated(module_of(WINDOW)._PROGRAM, lambda *_: None), []
    for _ in range(3):
        assert asked.signature(*CALLS["plain"]())

    def transformed(x: Tensor) -> Tensor:
        seen.append(asked.signature(*CALLS["plain"]()))
        return x.sum()

    torch.vmap(transformed)(torch.zeros(2, 2))
    torch.func.grad(transformed)(torch.zeros(2))
    torch.func.jvp(transformed, (torch.zeros(2),), (torch.zeros(2),))
    torch.jit.trace(lambda x: transformed(x), (torch.zeros(2),), check_trace=False)
    assert seen == [None] * 4
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]):
        assert asked.signature(*CALLS["plain"]()) is None


def test_a_torch_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert likeness(*tensors())(*tensors())  # type: ignore[misc]
    monkeypatch.setitem(sys.modules, "torch._C._dynamo.guards", None)
    assert likeness(*tensors()) is None


@pytest.mark.parametrize("name", ["documents", "lengths", "q_lengths", "k_offset", "sinks", "w", "doc", "on"])
def test_tensors_that_begin_between_are_copied_first(name: str) -> None:
    """Kernels are compiled for tensors that begin at multiples of 16 bytes, whatever a known call gives."""
    text, inputs, read = "pattern p = past(20)", {"w": DISTANCE, "doc": SAME, "on": MARKED}, []
    given = {"documents": torch.tensor([0, 9, N], dtype=torch.int32), "sinks": torch.zeros(2)}
    given |= {"w": torch.tensor(3, dtype=torch.int32), "on": torch.ones(N, dtype=torch.bool)}
    x = given.get(name, torch.arange(1, 1 + (N if name == "doc" else 1), dtype=torch.int32))
    moved = torch.cat([x.flatten()[:1], x.flatten()])[1:].view(x.shape)
    assert x.data_ptr() % 16 == 0 != moved.data_ptr() % 16

    def launched(own: Launched) -> int:
        read.extend(ctypes.c_uint64.from_address(at).value for at in own.parameters[: own.function])
        return 0

    attend, own = sparsec.compile(inputs.get(name, text)), tensors()
    with warm_calls(launched), torch.no_grad():
        remember(attend, *own, **{name: x})
        for _ in range(4):
            attend(*own, **{name: x})
        assert attend._operator.repeated.last.whole(False) is not None
        for each in (x, moved):
            read.clear()
            attend(*own, **{name: each})
            assert (each.data_ptr() in read) == (each is x)
    attend._operator.repeated.forget()  # the operator of a text is one for all tests
    attend._operator.program.passes.clear()


def test_a_backward_pass_has_the_precision_of_its_own_time() -> None:
    """Whatever products of float32 were when the forward pass ran, or an earlier backward pass of such a call."""
    attend, own = sparsec.compile("pattern p = past(20)"), [x.requires_grad_() for x in tensors(torch.float32)]
    found = []
    before = torch.get_float32_matmul_precision()
    try:
        with warm_calls():
            known = remember(attend, *own)
            for precision in ("high", "high", "highest", "highest"):
                torch.set_float32_matmul_precision("highest")
                out = attend(*own)
                torch.set_float32_matmul_precision(precision)
                torch.autograd.grad(out, own, out.detach())
                found.append({each.run for each in known.backward.values()})
    finally:
        torch.set_float32_matmul_precision(before)
    assert [len(each) for each in found] == [1, 1, 2, 2]
    attend._operator.repeated.forget()
    attend._operator.program.passes.clear()


# ---------------------------------------------------------------- how much Python a warm call is

FOLDERS = str(Path(sparsec.__file__).parent), "sparsec-tests-"


def counted(call: Callable[[], object]) -> int:
    """Functions that a call enters in sparsec and in generated modules, and those in C that these call."""
    found = 0

    def event(frame: Any, kind: str, function: Any) -> None:
        nonlocal found
        found += kind in ("call", "c_call") and any(folder in frame.f_code.co_filename for folder in FOLDERS)

    sys.setprofile(event)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


@pytest.fixture
def on_an_h100() -> Iterator[None]:
    with warm_calls(), torch.no_grad():
        yield


@pytest.mark.parametrize("text", ["past(20)", "window(9) | global(3)", "causal & (past(9) | stride(16))"])
def test_a_warm_call_is_short(on_an_h100: None, text: str) -> None:
    """However many kernels it launches."""
    assert warm(text) <= 16


def test_a_warm_call_about_documents_is_short(on_an_h100: None) -> None:
    assert warm("past(20)", documents=torch.tensor([0, 9, N], dtype=torch.int32)) <= 22


def test_a_warm_call_with_an_input_is_short(on_an_h100: None) -> None:
    assert warm(DISTANCE, w=torch.tensor(3, dtype=torch.int32)) <= 22


@pytest.mark.parametrize(
    ("text", "given", "most"),
    [
        ("past(20)", {}, 68),
        ("past(20)", {"documents": torch.tensor([0, 9, N], dtype=torch.int32)}, 80),
        (DISTANCE, {"w": torch.tensor(3, dtype=torch.int32)}, 90),
    ],
)
def test_a_warm_call_with_gradients_is_short(on_an_h100: None, text: str, given: dict[str, Tensor], most: int) -> None:
    """Forward and backward."""
    with torch.enable_grad():
        assert warm(text, **given) <= most


def warm(text: str, **given: Any) -> int:
    """The count of a warm call, which is known though its tensors are no GPU's."""
    attend = sparsec.compile(text if "pattern" in text else f"pattern p = {text}")
    graded = torch.is_grad_enabled()
    q, k, v = (x.requires_grad_(graded) for x in tensors())
    remember(attend, q, k, v, **given)

    def call() -> None:
        out = attend(q, k, v, **given)
        if graded:
            torch.autograd.grad(out, (q, k, v), out.detach())

    for _ in range(4):
        call()
    assert attend._operator.repeated.last.alike is not None
    found = counted(call)
    attend._operator.repeated.forget()  # the operator of a text is one for all tests
    attend._operator.program.passes.clear()
    return found


def test_a_warm_step_is_short(on_an_h100: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with another cache: a model has one for each layer."""
    monkeypatch.setattr(decode_call, "_on_cpu", lambda q: False)
    decoder = decoder_of(WINDOW)
    for _ in range(4):
        own = random_sequences([9, 30], dtype=torch.bfloat16, head_size=16)
        given = {"sinks": None, "scale": None, "out": None, "return_lse": False, **cached(own, "table")}
        q = own.q[:, 0].contiguous()
        found = counted(lambda q=q, given=given: decoder(q, **given))
    assert found <= 10


def test_lengths_of_known_steps_are_looked_at(on_an_h100: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SPARSEC_CHECK is 1, as those of a first one."""
    monkeypatch.setattr(decode_call, "_on_cpu", lambda q: False)
    decoder, own = decoder_of(WINDOW), random_sequences([9, 30], dtype=torch.bfloat16, head_size=16)
    given = {"sinks": None, "scale": None, "out": None, "return_lse": False, **cached(own, "flat")}
    q = own.q[:, 0].contiguous()
    for _ in range(4):
        decoder(q, **given)
    wrong = given | {"lengths": given["lengths"] + given["k"].shape[2]}
    decoder(q, **wrong)
    monkeypatch.setenv("SPARSEC_CHECK", "1")
    decoder(q, **given)
    with pytest.raises(ValueError, match="SP0612"):
        decoder(q, **wrong)


def test_what_is_known_of_calls_compiles_nothing_again() -> None:
    """Eager calls between compiled ones change it."""
    attend, compiles = sparsec.compile("pattern p = past(20)"), []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Callable:
        compiles.append(graph)
        return graph.forward

    compiled = torch.compile(attend, backend=backend, fullgraph=True)
    with torch.no_grad():
        for n in (N, N, N, 32, N, N, 32, 32):
            attend(*tensors(n=n))
            compiled(*tensors())
    assert len(compiles) == 1
