"""The kernels of a decoding step in Triton's interpreter, against dense attention: NaN wherever no row looks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.caches import Sequences, assert_right, cached, decoder_of, free_unseen, random_sequences
from support.generated import pattern_of, random_pattern

from sparsec.ir import nodes
from sparsec.kernels.decode import call as decode_call
from sparsec.kernels.decode import gpu as decode_gpu
from sparsec.kernels.decode.gpu import StepSetting, environment_of, prepared_step
from sparsec.kernels.decode.pages import Pages
from sparsec.kernels.decode.step_work import StepWork
from sparsec.kernels.weights.sinks import with_sinks
from sparsec.testing.programs import match_programs, programs

PATTERNS = [
    ("sinks(3) | past(20)", 1, "table"),
    ("causal & (past(8) | stride(8))", 3, "indices"),
    ("causal & (same_block(16) | columns(16, 2))", 2, "flat"),
    ("past(5) | causal & k // 4 % 3 == 0", 1, "heads first"),
    ("past(10) | causal & random_past_blocks(8, 2, 1)", 1, "table"),
]
MORE_PATTERNS = [
    ("sinks(3) | past(20)", 3, "flat"),
    ("causal & (past(8) | stride(8))", 1, "flat"),
    ("past(10) | causal & random_past_blocks(8, 2, 1)", 2, "flat"),
    ("window(9) | global(3)", 1, "table"),
    ("k >= n - 4", 1, "table"),
]


def kernels(
    pattern: nodes.Pattern, own: Sequences, form: str, page: int = 8, parts: int = 3, sinks: torch.Tensor | None = None,
    shared: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """out and lse of the kernels, where as many programs share a unit; `shared`: a unit of all sequences."""
    decoder, given, out = decoder_of(pattern), cached(own, form, page), torch.empty_like(own.q)
    pages = Pages.of(given["pages"], given["k"])
    tensors = own.q, given["k"], given["v"], given["lengths"], pages, sinks
    decoder.steps.passes.clear()
    with pytest.MonkeyPatch.context() as patches:
        setting = StepSetting(tile_bytes=1 << 10, waves=1 << 10, least_share=1, most_parts=parts)
        if shared:  # heads that share a condition are units, as many as key heads at least
            setting = setting._replace(waves=parts)
            patches.setattr(decode_gpu, "processors", lambda device: len(own.k[0]))
        patches.setattr(decode_gpu, "step_setting", lambda device, width: setting)
        step = prepared_step(decoder.steps, *tensors, out, True, shared)
        env = {**environment_of(*tensors, 0.25), "OUT": out}
        if step.sums:
            env["WORK"] = StepWork(given["lengths"]).sums(step.sums)
        step.run(env)
    return out, env["LSE"]


@pytest.mark.parametrize(
    ("text", "rows", "form"), [*PATTERNS, *(pytest.param(*each, marks=pytest.mark.full) for each in MORE_PATTERNS)]
)
def test_patterns(text: str, rows: int, form: str) -> None:
    pattern = pattern_of(f"pattern p = {text}")
    own = random_sequences([1, 37], rows=rows)
    assert_right(pattern, own, *kernels(pattern, free_unseen(pattern, own), form, shared=rows == 2))


@pytest.mark.parametrize("parts", [1, pytest.param(7, marks=pytest.mark.full)])
def test_parts_and_sinks(parts: int) -> None:
    """However many programs share a unit; more than it has tiles, too."""
    pattern, sinks = pattern_of("pattern p = sinks(3) | past(20)"), torch.tensor([0.5, -1.0, 2.0, float("-inf")])
    own = random_sequences([0, 1, 37], rows=2)
    out, lse = kernels(pattern, own, "table", parts=parts)
    assert_right(pattern, own, out, lse)
    wanted_out, wanted_lse = with_sinks(out.transpose(1, 2), lse.transpose(1, 2), sinks[None])
    wanted_lse[0] = wanted_lse[1, :, 0] = float("-inf")  # rows that are not there
    found_out, found_lse = kernels(pattern, own, "table", parts=parts, sinks=sinks)
    torch.testing.assert_close(found_out, wanted_out.transpose(1, 2))
    torch.testing.assert_close(found_lse, wanted_lse.transpose(1, 2))


@pytest.mark.parametrize(
    "text", ["past(6 * (h + 1)) with softcap(5 + h), alibi", pytest.param("past(6 * (h + 1))", marks=pytest.mark.full)]
)
def test_heads_and_scores(text: str) -> None:
    pattern = pattern_of(f"pattern p = {text}", heads=3)
    own = random_sequences([1, 37], heads=3, kv_heads=1, rows=2)
    assert_right(pattern, own, *kernels(pattern, own, "table"))


@pytest.mark.parametrize("parts", [1, 5])
def test_shared_work(monkeypatch: pytest.MonkeyPatch, parts: int) -> None:
    """Made once for two layers with other keys; sequences begin and end within programs' runs."""
    monkeypatch.setattr(decode_call, "decode_cpu", None)
    monkeypatch.setattr(decode_call, "_on_cpu", lambda q: False)
    monkeypatch.setattr(decode_gpu, "step_setting", lambda device, width: StepSetting(tile_bytes=1 << 10, waves=1))
    monkeypatch.setattr(decode_gpu, "processors", lambda device: parts * 2)
    pattern = pattern_of("pattern p = causal")
    decoder = decoder_of(pattern)
    decoder.steps.passes.clear()
    lengths, work = None, None
    for seed in range(2):
        own = random_sequences([3, 40, 0, 1, 17], dtype=torch.float16, seed=seed)
        call = {**cached(own, "table"), "sinks": None, "scale": None, "out": None, "return_lse": True}
        lengths = call["lengths"] if lengths is None else lengths
        work = work or StepWork(lengths)
        call["lengths"] = lengths
        for shared in (work, None):  # other sums, each within the error of its type
            found = decoder(own.q[:, 0], **call, work=shared)
            assert_right(pattern, own, *(x[:, None] for x in found))
    assert len(work.made) == 1


def test_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: a first call with its checks, then calls like it with another q, and with other arguments."""
    monkeypatch.setattr(decode_call, "decode_cpu", None)
    monkeypatch.setattr(decode_call, "_on_cpu", lambda q: False)
    pattern = pattern_of("pattern p = past(5)")
    decoder, own = decoder_of(pattern), random_sequences([0, 1, 12], dtype=torch.float16)
    given = {**cached(own, "table"), "sinks": None, "scale": None, "out": None, "return_lse": True}
    for seed in range(4):
        own.q = torch.randn(own.q.shape, generator=torch.Generator().manual_seed(seed)).half()
        out, lse = decoder(own.q[:, 0], **given)
        assert_right(pattern, own, out[:, None], lse[:, None])
    assert decoder.last is not None
    for call in ({"scale": -0.5}, {"scale": 0.0}, {"lengths": given["lengths"].clone()}, {"return_lse": False}):
        found = decoder(own.q[:, 0], **{**given, **call})
        out = torch.empty(3, 4, 20, dtype=torch.float16)[:, :, :16]  # kernels can't write there: copied
        for to in (torch.empty_like(own.q[:, 0]), out):
            again = decoder(own.q[:, 0], **{**given, **call, "out": to})
            assert (again[0] if isinstance(again, tuple) else again) is to
            assert torch.equal(to, found[0] if isinstance(found, tuple) else found)
        if "scale" in call:
            assert_right(pattern, own, found[0][:, None], found[1][:, None], call["scale"])


@pytest.mark.full
@settings(max_examples=60, deadline=None)
@given(
    program=st.one_of(programs(), match_programs()),
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=2),
    rows=st.integers(1, 4),
    group=st.integers(1, 7),
    page=st.sampled_from([1, 3, 16, 64]),
    parts=st.integers(1, 5),
    form=st.sampled_from(["flat", "table", "indices"]),
    shared=st.booleans(),
)
def test_random_patterns(program, lengths, rows, group, page, parts, form, shared) -> None:
    pattern = random_pattern(program)
    tables = [leaf for condition in pattern.conditions for leaf in nodes.tables(condition)]
    if any(not isinstance(leaf, nodes.Blocks) and not getattr(leaf, "past", False) for leaf in tables):
        return  # drawn anew at every length
    heads = pattern.heads or group
    own = random_sequences(lengths, rows=rows, heads=heads, kv_heads=1)
    assert_right(pattern, own, *kernels(pattern, free_unseen(pattern, own), form, page, parts, shared=shared))
