"""A pattern as FlexAttention's mask_mod is the pattern."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from support.generated import EXAMPLES, example, mask_of, pattern_of, random_pattern
from torch.nn.attention.flex_attention import create_block_mask, create_mask, flex_attention

import sparsec
from sparsec.ir.nodes import Pattern
from sparsec.runtime.flex import mask_mod
from sparsec.testing import programs

NAMES = sorted(path.stem for path in EXAMPLES.glob("*.spat"))
HEADS = 8


def flex_mask(pattern: Pattern, n: int) -> np.ndarray:
    """Bool [n, n], or [H, n, n], as FlexAttention sees it."""
    found = create_mask(mask_mod(pattern, n), None, pattern.heads, n, n, device="cpu")[0]
    return (found if pattern.heads else found[0]).numpy()


@pytest.mark.parametrize("name", NAMES)
def test_examples(name):
    small = {"b": 4} if name in ("bigbird", "deepspeed_fixed", "deepspeed_variable", "explicit_blocks") else {}
    small |= {"w": 24} if name in ("dilated_window", "longformer", "longnet", "longnet_heads", "mistral") else {}
    pattern = example(name, heads=HEADS, layer=3, **small)
    for n in (1, 61, 300):
        assert (flex_mask(pattern, n) == mask_of(pattern, n, n)).all()


@given(programs.programs(term=programs.terms() | programs.tables()))
def test_random_programs(program):
    same(random_pattern(program))


@given(programs.match_programs(term=programs.terms() | programs.tables()))
def test_random_programs_by_head(program):
    same(random_pattern(program))


def same(pattern: Pattern) -> None:
    assert (flex_mask(pattern, 37) == mask_of(pattern, 37, 37)).all()


def test_block_mask():
    """Blocks of 128 are full, partial or empty as the pattern has it."""
    pattern, n = pattern_of("pattern p = past(300) | k < 128 & q % 2 == 0"), 1024
    blocks = create_block_mask(mask_mod(pattern, n), None, None, n, n, device="cpu")
    kept = mask_of(pattern, n, n).reshape(8, 128, 8, 128).any(axis=(1, 3))
    assert (blocks.to_dense()[0, 0].bool().numpy() == kept).all()


@pytest.mark.parametrize("arguments", [(1, 150), (8, "gpu"), (8, None)])
def test_what_is_no_device(arguments):
    """Who has mask(n_q, n) in mind gives two numbers."""
    pattern = sparsec.compile("pattern p = past(4)").pattern
    with pytest.raises(ValueError, match=r"^\[SP0606\] device"):
        pattern.mask_mod(*arguments)


def test_last_queries_alone():
    pattern = sparsec.compile("pattern p = past(4) | sinks(1)").pattern
    found = create_mask(pattern.mask_mod(20, n_q=7), None, None, 7, 20, device="cpu")[0, 0]
    assert (found.numpy() == pattern.mask(7, 20)).all()


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "parameters"), [("bigbird", {"b": 16}), ("deepspeed_fixed", {"b": 16}), ("longnet_heads", {"w": 32})]
)
def test_compiled(name, parameters):
    """The closures can be traced; FlexAttention with them is our operator."""
    n = 300
    operator = sparsec.load(EXAMPLES / f"{name}.spat", heads=HEADS, **parameters)
    torch._dynamo.reset()
    heads = operator.pattern.heads
    blocks = torch.compile(create_block_mask, dynamic=False)(
        operator.pattern.mask_mod(n), None, heads, n, n, device="cpu"
    )
    q, k, v = torch.randn(3, 1, HEADS, n, 16)
    with torch.no_grad():
        found = torch.compile(flex_attention, dynamic=False)(q, k, v, block_mask=blocks)
        torch.testing.assert_close(found, operator(q, k, v))
