"""The tier of kernels that a plan is said to run in is the one that operators choose before a launch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.generated import module_of, pattern_of, random_pattern
from support.on_gpu import any_program

from sparsec.ir.nodes import Pattern
from sparsec.kernels.hopper import resources as hopper_resources
from sparsec.kernels.hopper import rules as hopper_rules
from sparsec.kernels.hopper import tier as hopper_tier
from sparsec.kernels.hopper.resources import BACKWARD_TILES, HOPPER_TILES, REGISTERS, SHARED
from sparsec.kernels.hopper.rules import HopperCase
from sparsec.kernels.launches.launch import Meta, Pass
from sparsec.plan import tiers
from sparsec.plan.build import build
from sparsec.plan.tiers import Device, Shape, Tier
from sparsec.report.tiers import _answer, tier_rows

H100 = Device((9, 0), 132)
SHAPES = [(16, 8192, 128), (16, 32768, 64), (1, 4096, 128), (2, 300, 96), (4, 2048, 32)]  # heads, n, head size
TEXTS = [
    "k < n",
    "past(1024) | sinks(4)",
    "past(128)",
    "window(512) | global(64)",
    "block_window(64, 3)",
    "past(4096) with softcap(50)",
    "past(4096) with softcap(70), alibi",
    "causal & q % 3 != 0",
    "causal & (past(64) | stride(16))",
    "causal & (past(9) | k % 16 < 2)",
    "abs(q // 32 - k // 32) <= 2 & abs(q % 32 - k % 32) <= 2",
    "random_blocks(64, 2, 1) | block_window(64, 3)",
    "past(9) | random_keys(3, 1)",
    "past(9) & q > 9999",
    "input doc: int[n] pattern p = causal & doc[q] == doc[k]",
    "input a: float[H] score sloped = s - a * abs(q - k) pattern p = causal with sloped",
]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an H100."""
    monkeypatch.delenv(hopper_rules.TIER, raising=False)
    monkeypatch.setattr(hopper_tier, "capability", lambda device: H100.capability)
    monkeypatch.setattr(hopper_tier, "processors", lambda device: H100.processors)
    monkeypatch.setattr(hopper_tier, "known_gluon", lambda: True)


def of_kernels(pattern: Pattern, heads: int, n_q: int, n: int, q_offset: int, head_size: int) -> Iterator[HopperCase]:
    """What operators ask about, kernel by kernel, and then of the gradients, for each condition."""
    program = module_of(pattern)._PROGRAM
    q, k = (Meta.contiguous((1, heads, x, head_size), torch.bfloat16, torch.device("cpu")) for x in (n_q, n))
    run = Pass(program, Q=q, K=k, V=k, DO=q)
    for group in program.groups:
        variant = group.at(n)
        yield from (hopper_tier.forward_case(run, kernel, q_offset) for kernel in variant.of("forward"))
        yield hopper_tier.backward_case(run, group, variant, q_offset)


def check(pattern: Pattern, heads: int, n_q: int, n: int, q_offset: int, head_size: int) -> None:
    shape = Shape(n_q, n, q_offset, heads, head_size)
    told = [*tiers.tiers(build(pattern), shape, H100)]
    asked = [*of_kernels(pattern, heads, n_q, n, q_offset, head_size)]
    assert [each.tier == "hopper" for each in told] == [*map(hopper_rules.runs_there, asked)]
    for tier, case in zip(told, asked, strict=True):
        why = hopper_rules.lacks(case) or hopper_rules.slower_without(case)
        if why == hopper_rules.PROCESSORS_BUSY:  # more heads are said, or what else there would have to be
            assert tier.why and (tier.why == why) == (tier.from_heads is not None)
        else:
            assert tier.why == why


@pytest.mark.parametrize("text", TEXTS)
def test_the_tier_is_the_one_that_operators_choose(text: str) -> None:
    pattern = pattern_of(text if "pattern" in text else f"pattern p = {text}")
    for heads, n, head_size in SHAPES:
        check(pattern, heads, n, n, 0, head_size)


@pytest.mark.parametrize(
    "text",
    [
        "match h { 0 -> past(4096) with softcap(50), else -> causal with softcap(50) }",
        "match h { 0 -> past(4096), 1 -> past(1000), else -> causal & stride(8) }",
    ],
)
def test_of_several_conditions(text: str) -> None:
    check(pattern_of(f"pattern p = {text}", 4), 4, 8192, 8192, 0, 128)


@pytest.mark.full
@settings(max_examples=300, deadline=None)
@given(
    any_program,
    st.integers(1, 9000),
    st.integers(1, 9000),
    st.integers(0, 9000),
    st.sampled_from([32, 64, 96, 128, 256]),
)
def test_of_random_patterns(program, n_q: int, n: int, q_offset: int, head_size: int) -> None:
    check(random_pattern(program), program.heads or 16, n_q, n, q_offset, head_size)


def test_with_enough_heads_it_is_the_other_one() -> None:
    plan = build(pattern_of("pattern p = causal"))

    def of(heads: int) -> list[Tier]:
        return [*tiers.tiers(plan, Shape(4096, 4096, 0, heads, 128), H100)]

    assert [each.from_heads for each in of(1)] == [4, 4]
    assert {each.tier for each in of(3)} == {"plain"}
    assert {each.tier for each in of(4)} == {"hopper"}


ALONE = "those for Hopper need"


@pytest.mark.parametrize(
    ("said", "head_size", "device", "answer"),
    [
        ("", 128, H100, "kernels for Hopper"),
        ("", 128, Device((0, 0), 0), f"plain kernels; {ALONE} a GPU of capability 9.0"),
        ("plain", 128, H100, "plain kernels, as SPARSEC_TIER says"),
        ("hopper", 64, H100, "kernels for Hopper, as SPARSEC_TIER says"),
    ],
)
def test_what_is_said(said: str, head_size: int, device: Device, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if said:
        monkeypatch.setenv(hopper_rules.TIER, said)
    found = tiers.tiers(build(pattern_of("pattern p = causal")), Shape(8192, 8192, 0, 16, head_size), device)
    assert [row for _, row in tier_rows([*found])] == [f"forward and backward: {answer}"]


@pytest.mark.parametrize(("head_size", "forward"), [(256, True), (136, True), (512, False), (32, False)])
def test_head_sizes(head_size: int, forward: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(hopper_rules.TIER, "hopper")
    found = tiers.tiers(build(pattern_of("pattern p = causal")), Shape(8192, 8192, 0, 16, head_size), H100)
    there, lacking = "kernels for Hopper, as SPARSEC_TIER says", f"plain kernels; {ALONE} a head size from 40 to"
    assert [row for _, row in tier_rows([*found])] == [
        f"forward: {there if forward else f'{lacking} 256'}",
        f"backward: {lacking} 128",
    ]


def test_dropout() -> None:
    """It changes nothing but forward kernels of small heads, of which that is said."""
    plan = build(pattern_of("pattern p = k < n"))
    for size, forward in ((128, "kernels for Hopper"), (64, "kernels for Hopper; with dropout plain kernels")):
        told = [*tiers.tiers(plan, Shape(8192, 8192, 0, 16, size), H100)]
        assert [_answer(each) for each in told] == [forward, "kernels for Hopper"]
        case = HopperCase(False, "", 132, "bfloat16", size, 1, 16, 8192, 8192, dropout=True)
        assert hopper_rules.runs_there(case) == (size > 64)
        assert hopper_rules.runs_there(case._replace(backward=True))


def test_several_conditions_are_told_apart() -> None:
    plan = build(pattern_of("pattern p = match h { 0 -> past(64), else -> causal }", 2))
    found = [row for _, row in tier_rows([*tiers.tiers(plan, Shape(32768, 32768, 0, 2, 128), H100)])]
    assert found == [
        "heads 0: forward: plain kernels; those for Hopper are faster only with enough tiles without a mask",
        "heads 0: backward: plain kernels; those for Hopper need one pattern for all heads",
        "heads 1: forward: kernels for Hopper",
        "heads 1: backward: plain kernels; those for Hopper need one pattern for all heads",
    ]


# ---------------------------------------------------------------- the model of resources


def test_the_table_says_what_the_model_computes() -> None:
    lines = [line for line in (hopper_resources.__doc__ or "").splitlines() if line.startswith("| ")][1:]
    assert lines == [
        f"| {size} | {kind} | {queries} | {tiles.keys} | {tiles.stages} | {tiles.groups} "
        f"| {tiles.registers(size)} of {REGISTERS[tiles.groups]} | {tiles.shared(size):,} of {SHARED:,} "
        f"| {tiles.traffic:.1f} |"
        for size in HOPPER_TILES
        for kind, tiles in (("forward", HOPPER_TILES[size]), ("backward", BACKWARD_TILES[size]))
        for queries in (tiles[0],)
    ]


def test_what_fits() -> None:
    assert [size for size in HOPPER_TILES if hopper_resources.fits(size, backward=False)] == [64, 128, 256]
    assert [size for size in BACKWARD_TILES if hopper_resources.fits(size, backward=True)] == [64, 128]
    assert not any(hopper_resources.fits(512, backward) for backward in (False, True))


def test_the_rules_need_no_torch() -> None:
    code = "import sys, sparsec.plan.tiers, sparsec.report.tiers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
