"""The torch path against dense attention: random programs and the examples, forward and every gradient."""

from __future__ import annotations

import resource
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.generated import attend_of, example, mask_of, pattern_of
from torch import Tensor

from sparsec.diagnostics import EmptyPattern, SparsecError
from sparsec.ir import nodes
from sparsec.kernels import torch_path
from sparsec.testing import compare, random_problem, run
from sparsec.testing.programs import Program, match_programs, programs

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def assert_exact(pattern: nodes.Pattern, n_q: int, n_k: int, q_offset: int | None = None, **numbers) -> None:
    """The operator of the pattern is dense attention; `numbers` as of `random_problem`."""
    numbers = {"heads": pattern.heads or 2, **numbers}
    problem = random_problem(mask_of(pattern, n_q, n_k, q_offset), **numbers)
    found = compare(run(attend_of(pattern), problem, q_offset), problem)
    assert all(each.holds for each in found), ", ".join(map(str, found))


def lowered(program: Program) -> nodes.Pattern:
    """The pattern of a program; programs that keep no pair at all are refused, and passed over here."""
    try:
        return pattern_of(program.text, program.heads)
    except SparsecError as error:
        assert [type(item) for item in error.diagnostics] == [EmptyPattern]
        assume(False)
        raise


@st.composite
def lengths(draw: st.DrawFn) -> tuple[int, int, int | None]:
    """n_q, n_k and the position of the first query: at the end of the keys, or anywhere, also beyond them."""
    n_q, n_k = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    if n_q <= n_k and draw(st.booleans()):
        return n_q, n_k, None
    return n_q, n_k, draw(st.integers(0, 90))


# ---------------------------------------------------------------- random programs


@given(
    programs(),
    lengths(),
    st.sampled_from(((1, 1), (2, 2), (4, 2), (3, 1))),
    st.sampled_from(DTYPES),
    st.sampled_from((None, 0.7, -0.3, 0.0)),
    st.integers(0, 99),
)
def test_random_programs(program, lengths, heads, dtype, scale, seed):
    numbers = {"heads": heads[0], "kv_heads": heads[1], "dtype": dtype, "scale": scale, "seed": seed}
    assert_exact(lowered(program), *lengths, **numbers)


@given(programs(), lengths(), st.sampled_from((16, 48)), st.sampled_from((16, 64)))
def test_random_programs_in_short_steps(program, lengths, rows, keys):
    """Steps of a few rows and keys, so that short sequences take several of them."""
    pattern = lowered(program)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_path, "_ROWS", rows)
        patch.setattr(torch_path, "_KEYS", keys)
        assert_exact(pattern, *lengths, dtype=torch.float64)


@settings(max_examples=30)
@given(match_programs(), lengths(), st.integers(0, 99))
def test_random_programs_by_head(program, lengths, seed):
    """Heads of one key head may stand in several kernels."""
    pattern = lowered(program)
    divisors = [d for d in range(1, program.heads + 1) if program.heads % d == 0]
    kv_heads = divisors[seed % len(divisors)]
    heads = program.heads
    assert_exact(pattern, *lengths, heads=heads, kv_heads=kv_heads, seed=seed)


@pytest.mark.full
@settings(max_examples=1000)
@given(st.one_of(programs(depth=3), match_programs()), lengths(), st.sampled_from(DTYPES))
def test_more_random_programs(program, lengths, dtype):
    assert_exact(lowered(program), *lengths, dtype=dtype, **({"heads": program.heads} if program.heads else {}))


# ---------------------------------------------------------------- the examples

# Small parameters, so that windows end, strides repeat and blocks are cut within a few hundred positions.
SMALL: dict[str, dict[str, int]] = {
    "a_shape": {"s": 6, "w": 20},
    "bigbird": {"b": 8, "w": 3, "g": 2, "r": 2, "seed": 1},
    "bigbird_tokens": {"w": 9, "g": 2, "r": 3, "seed": 1},
    "block_diffusion": {"b": 7, "p": 20},
    "deepspeed_fixed": {"b": 4, "w": 4, "g": 1, "patterns": 4},
    "deepspeed_variable": {"b": 4, "r": 2, "seed": 3},
    "dilated_window": {"w": 9, "s": 4},
    "explicit_blocks": {"b": 32},
    "longformer": {"w": 16, "g": 5},
    "longnet": {"w": 16},
    "longnet_heads": {"w": 16},
    "mistral": {"w": 20},
    "neighbourhood_2d": {"width": 13, "r": 5},
    "per_head_strides": {"w": 12},
    "prefix_lm": {"p": 30},
    "sliding_window": {"w": 16},
    "sparse_transformer_fixed": {"l": 16, "c": 3},
    "sparse_transformer_strided": {"l": 12},
    "streaming_llm": {"s": 4, "w": 20},
}


@pytest.mark.parametrize("name", SMALL)
def test_examples(name):
    """Lengths of several steps of rows, more keys than queries, and a single row."""
    pattern = example(name, heads=8, **SMALL[name])
    for n_q, n_k, kv_heads in ((300, 300, 8), (45, 170, 2), (1, 77, 4)):
        assert_exact(pattern, n_q, n_k, heads=8, kv_heads=kv_heads)


@pytest.mark.parametrize("name", ["longformer", "mistral", "sparse_transformer_strided"])
def test_several_steps_of_keys(name):
    assert_exact(example(name), 140, 2300, heads=2, kv_heads=1)


@pytest.mark.parametrize("head_size", [16, 24, 80, 256])
def test_head_sizes(head_size):
    assert_exact(example("longformer", w=16, g=5), 70, 70, head_size=head_size)


def test_batches():
    assert_exact(example("longformer", w=16, g=5), 70, 70, heads=6, kv_heads=3, batch=3)


# ---------------------------------------------------------------- layouts in memory


def _permuted(x: Tensor) -> Tensor:
    """The same numbers, stored as [n, H, B, D]."""
    return x.permute(2, 1, 0, 3).contiguous().permute(2, 1, 0, 3)


def _sliced(x: Tensor) -> Tensor:
    """The same numbers, every second of a larger tensor in each dimension."""
    wide = x.new_full([2 * size for size in x.shape], float("nan"))
    view = wide[::2, 1::2, ::2, 1::2]
    view.copy_(x)
    return view


def _broadcast(x: Tensor) -> Tensor:
    """The first head's numbers for every head, stored once."""
    return x[:, :1].expand(x.shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", [_permuted, _sliced, _broadcast])
def test_layouts(layout, dtype):
    pattern = example("longformer", w=16, g=5)
    problem = random_problem(mask_of(pattern, 40, 60), heads=4, kv_heads=2, batch=2, dtype=dtype)
    stored = replace(problem, **{name: layout(getattr(problem, name)) for name in "qkvg"})
    found = compare(run(attend_of(pattern), stored), stored)
    assert all(each.holds for each in found), ", ".join(map(str, found))


# ---------------------------------------------------------------- rows and columns with nothing


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_without_keys(dtype):
    pattern = pattern_of("pattern p = 3 <= q - k < 9 & q % 4 != 1")
    problem = random_problem(mask_of(pattern, 50, 50), dtype=dtype)
    results = run(attend_of(pattern), problem)
    empty = ~problem.mask.any(1)
    assert 10 < empty.sum() < 50
    assert (results.out[:, :, empty] == 0).all()
    assert (results.dq[:, :, empty] == 0).all()
    assert (results.lse[:, :, empty] == float("-inf")).all()
    unseen = ~problem.mask.any(0)
    assert (results.dk[:, :, unseen] == 0).all()
    assert (results.dv[:, :, unseen] == 0).all()
    assert all(each.holds for each in compare(results, problem))


def test_queries_beyond_every_key():
    assert_exact(example("mistral", w=20), 30, 20, q_offset=500)


def test_large_scores_do_not_overflow():
    """Scores of some thousands, and whole rows of them negative."""
    pattern = example("streaming_llm", s=4, w=20)
    problem = random_problem(mask_of(pattern, 90, 90), dtype=torch.float32, scale=300.0)
    results = run(attend_of(pattern), problem)
    assert all(each.holds for each in compare(results, problem))


# ---------------------------------------------------------------- memory


def test_no_object_of_all_pairs():
    """A few MB of tensors at a length whose scores would take 16 GB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    q = torch.randn(1, 1, 65536, 16, requires_grad=True)
    attend_of(example("mistral", w=64))(q, q, q).sum().backward()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB
    assert grown < 500_000


# ---------------------------------------------------------------- heads that share kernels


@pytest.mark.parametrize("name", ["deepspeed_fixed", "longnet_heads", "per_head_strides"])
def test_heads_that_share_kernels_at_lengths_of_layouts(name: str) -> None:
    """Heads differ in gathered keys, in strides, and in what their kernels take as constants."""
    assert_exact(example(name, 8, layer=0), 1100, 1100)


def test_heads_that_differ_in_tables_of_rows() -> None:
    parts = [" | ".join(f"q in {a}..{a + 9} & k in {a // 2}..{a + more}" for a in range(0, 90, 9)) for more in (9, 30)]
    assert_exact(pattern_of(f"pattern p = match h {{ 0 -> {parts[0]} else -> {parts[1]} }}", 2), 100, 100)
