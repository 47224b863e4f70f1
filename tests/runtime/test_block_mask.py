"""A pattern's BlockMask is what `create_block_mask` makes of its mask_mod, entry by entry."""

from __future__ import annotations

import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.generated import EXAMPLES, example, pattern_of, random_pattern
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

import sparsec
from sparsec.analysis import blocks
from sparsec.ir.nodes import Pattern
from sparsec.runtime.block_mask import block_mask
from sparsec.runtime.flex import mask_mod
from sparsec.sets import budgets
from sparsec.testing import programs

NAMES = sorted(path.stem for path in EXAMPLES.glob("*.spat"))
SMALL = {"b": 16}, {"w": 40}
HEADS = 8


def theirs(pattern: Pattern, n: int, block_size=128, n_q=None, batch=None, heads=None) -> BlockMask:
    n_q = n if n_q is None else n_q
    mod = mask_mod(pattern, n, q_offset=n - n_q)
    return create_block_mask(mod, batch, heads or pattern.heads, n_q, n, device="cpu", BLOCK_SIZE=block_size)


def same(ours: BlockMask, other: BlockMask) -> None:
    assert (ours.seq_lengths, ours.BLOCK_SIZE, ours.shape) == (other.seq_lengths, other.BLOCK_SIZE, other.shape)
    for side in ("kv", "q"):
        for name in (f"{side}_num_blocks", f"{side}_indices"):
            for field in (name, f"full_{name}"):
                mine, expected = getattr(ours, field), getattr(other, field)
                assert mine.dtype == expected.dtype, field
                assert mine.shape == expected.shape, field
                assert torch.equal(mine, expected), field


@pytest.mark.parametrize("name", NAMES)
def test_examples(name):
    pattern = example(name, heads=HEADS, layer=3)
    for n in (1, 300, 512):
        same(block_mask(pattern, n), theirs(pattern, n))


@pytest.mark.parametrize("name", ["bigbird", "deepspeed_fixed", "deepspeed_variable", "explicit_blocks", "longformer"])
def test_examples_made_small(name):
    pattern = example(name, heads=HEADS, **({"w": 40, "g": 3} if name == "longformer" else {"b": 24}))
    for n, size, n_q in ((401, 32, 401), (384, (64, 16), 384), (401, (48, 32), 70), (130, 128, 1)):
        same(block_mask(pattern, n, size, n_q), theirs(pattern, n, size, n_q))


def same_as_theirs(pattern: Pattern, n: int, size, n_q: int) -> None:
    same(block_mask(pattern, n, size, min(n, n_q)), theirs(pattern, n, size, min(n, n_q)))


SHAPES = st.tuples(st.integers(1, 70), st.sampled_from([8, 16, (4, 16), (16, 6), (7, 5)]), st.integers(1, 70))


@given(programs.programs(term=programs.terms() | programs.tables()), SHAPES)
def test_random_programs(program, shape):
    same_as_theirs(random_pattern(program), *shape)


@given(programs.match_programs(term=programs.terms() | programs.tables()), SHAPES)
def test_random_programs_by_head(program, shape):
    same_as_theirs(random_pattern(program), *shape)


@given(programs.programs(term=programs.terms() | programs.tables()), SHAPES)
def test_random_programs_without_sets(program, shape):
    """What is left when sets explode: pairs are looked at one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budgets, "BLOCKS", 1)
        patch.setattr(blocks, "_CELLS", 64)
        same_as_theirs(random_pattern(program), *shape)


def test_many_tables():
    """More combinations of tables than one integer has bits."""
    parts = [f"random_blocks({size}, 1, {seed})" for seed in range(35) for size in (4, 8)]
    pattern = pattern_of(f"pattern p = past(2) \\ ({' | '.join(parts)}) | causal & random_blocks(4, 2, 99)")
    same(block_mask(pattern, 61, 8), theirs(pattern, 61, 8))


def test_batch_and_heads():
    pattern = pattern_of("pattern p = past(300) | k < 128 & q % 2 == 0")
    same(block_mask(pattern, 700, batch=2, heads=3), theirs(pattern, 700, batch=2, heads=3))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"n": 8, "block_size": 0}, "block_size"),
        ({"n": 8, "block_size": (8, 8, 8)}, "block_size"),
        ({"n": 8, "n_q": 9}, "n_q = 9"),
        ({"n": 0}, "n = 0"),
        ({"n": 8, "heads": 3}, "2 heads"),
        ({"n": 8, "device": 1}, "SP0606.*device"),
    ],
)
def test_what_does_not_fit(arguments, said):
    pattern = sparsec.compile("pattern p = past(h + 1)", heads=2).pattern
    with pytest.raises(ValueError, match=said):
        pattern.block_mask(**arguments)


def test_attention_with_it():
    """FlexAttention with the BlockMask of an operator is the operator, also for the last rows alone."""
    attend = sparsec.compile("pattern p = past(100) | sinks(4)")
    q, k, v = torch.randn(3, 1, 2, 300, 16)
    q = q[:, :, -40:]
    with torch.no_grad():
        found = flex_attention(q, k, v, block_mask=attend.pattern.block_mask(300, 32, n_q=40))
        torch.testing.assert_close(found, attend(q, k, v))


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_quick_and_the_same_where_n_is_large(name):
    """python -m pytest tests/runtime/test_block_mask.py -m full -s prints both times."""
    n = 8192
    pattern = example(name, heads=1, layer=3)
    start = time.perf_counter()
    ours = block_mask(pattern, n)
    middle = time.perf_counter()
    other = theirs(pattern, n)
    end = time.perf_counter()
    print(f"{name}, n = {n:,}: {1000 * (middle - start):.1f} ms, create_block_mask {1000 * (end - middle):.0f} ms")
    same(ours, other)
