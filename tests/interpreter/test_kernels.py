"""Every example, and random patterns, through the kernels in Triton's interpreter, against the dense reference.

Tiles are small, since a tile takes milliseconds here.  bfloat16 is left to GPUs: the interpreter computes it wrongly.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.generated import (
    EXAMPLES,
    example,
    listed_module_of,
    module_of,
    pattern_of,
    problem_of,
    random_pattern,
    spread_listed_module_of,
    spread_module_of,
)
from support.longer import longer
from support.spread import FROM_LISTS, FROM_LISTS_IN_LAYOUTS, SPREAD
from support.wide import layered
from torch import Tensor

from sparsec.ir.nodes import Compare, Const, Or, Pattern, Set, Var
from sparsec.kernels.launches import prepare
from sparsec.kernels.launches.stages import Split
from sparsec.kernels.passes import backward, rows
from sparsec.kernels.passes.backward import backward_gpu
from sparsec.kernels.passes.forward import forward_gpu
from sparsec.kernels.program.arguments import Call, Upstream
from sparsec.testing import dense_attention
from sparsec.testing.programs import Program, match_programs, programs

pytestmark = pytest.mark.usefixtures("small_tiles")


def interpreted(module: ModuleType):
    """The module's operator with its kernels on CPU tensors, as a function that `oracle.run` can call."""
    program = module._PROGRAM
    program.passes.clear()

    class Attention(torch.autograd.Function):
        @staticmethod
        def forward(ctx, q, k, v, scale, q_offset):
            out, lse = forward_gpu(program, Call(q, k, v, scale, q_offset))
            ctx.save_for_backward(q, k, v, out, lse)
            ctx.rest = scale, q_offset
            return out, lse

        @staticmethod
        def backward(ctx, g, dlse):
            q, k, v, out, lse = ctx.saved_tensors
            return *backward_gpu(program, Call(q, k, v, *ctx.rest), Upstream(g, out, lse, dlse)), None, None

    def attend(q, k, v, *, scale, q_offset, return_lse):
        return Attention.apply(q, k, v, scale, k.shape[2] - q.shape[2] if q_offset is None else q_offset)

    return attend


ORDERS = [(0, 1, 2, 3), (0, 2, 1, 3), (2, 0, 1, 3)]  # [B, H, n, D], [B, n, H, D], [n, B, H, D]


def lying(x: Tensor, order: tuple[int, ...]) -> Tensor:
    """x [B, H, n, D] in memory by the order of its dimensions."""
    return x.permute(order).contiguous().permute([order.index(dim) for dim in range(4)])


def check(
    pattern: Pattern, n_q: int, n_k: int, q_offset: int | None = None, module: ModuleType | None = None, **problem
) -> None:
    """Queries and keys lie in memory in orders that differ from length to length."""
    problem = problem_of(pattern, n_q, n_k, q_offset, **problem)
    q_order, k_order = ORDERS[n_q % 3], ORDERS[(n_q + n_k) % 3]
    problem = replace(problem, q=lying(problem.q, q_order), **{x: lying(getattr(problem, x), k_order) for x in "kv"})
    found = dense_attention.compare(
        dense_attention.run(interpreted(module or module_of(pattern)), problem, q_offset), problem
    )
    assert all(each.holds for each in found), ", ".join(map(str, found))


@pytest.mark.parametrize("name", longer(sorted(path.stem for path in EXAMPLES.glob("*.spat")), 2))
def test_examples(name: str) -> None:
    heads = 8 if name in ("longnet_heads", "per_head_strides", "deepspeed_fixed") else None
    check(example(name, heads, layer=0), 40, 75, heads=heads or 2, kv_heads=2 if heads else 1, dtype=torch.float16)


@pytest.mark.parametrize(("head_size", "dtype"), longer([*product([16, 24, 80], [torch.float16, torch.float32])], 3))
def test_head_sizes(head_size: int, dtype: torch.dtype) -> None:
    pattern = pattern_of("pattern p = past(20) | sinks(3)")
    check(pattern, 50, 70, heads=4, kv_heads=2, head_size=head_size, dtype=dtype, batch=2)


@pytest.mark.parametrize(
    ("text", "n_q", "n_k"),
    [
        ("past(20) | sinks(3)", 50, 70),
        pytest.param("causal & (past(16) | stride(8))", 48, 48, marks=pytest.mark.full),  # kernels that go on
        pytest.param("window(9) | global(3)", 70, 600, marks=pytest.mark.full),  # tiles that programs split
        ("causal & k % 16 in {14, 15} & q > 9", 40, 40),  # gathered keys
        pytest.param("random_keys(3, 1)", 33, 33, marks=pytest.mark.full),  # lists of pairs
        pytest.param("past(9) with softcap(2)", 40, 55, marks=pytest.mark.full),
    ],
)
@pytest.mark.parametrize("sizes", [(24, 40), pytest.param((40, 16), marks=pytest.mark.full)], ids=str)
def test_sizes_of_values(text: str, n_q: int, n_k: int, sizes: tuple[int, int]) -> None:
    pattern = pattern_of(f"pattern p = {text}")
    problem = {"heads": 2, "kv_heads": 1, "head_size": sizes[0], "v_head_size": sizes[1]}
    check(pattern, n_q, n_k, module=spread_module_of(pattern), dtype=torch.float16, **problem)


@pytest.mark.parametrize(
    ("n_q", "n_k", "q_offset"), [(1, 1, None), (1, 90, None), (90, 33, 5), (33, 20, 40), (17, 64, 0)]
)
def test_lengths(n_q: int, n_k: int, q_offset: int | None) -> None:
    check(pattern_of("pattern p = window(7) | global(2) | (causal & stride(9))"), n_q, n_k, q_offset)


EVERYTHING = ", ".join(map(str, range(0, 60, 2)))  # a row of 30 blocks among shorter ones
RAGGED = [
    f"blocks(3, [[{EVERYTHING}], [], [1, 5], [2147483647], [{EVERYTHING}]])",
    f"blocks(16, [[0], [{EVERYTHING}], [], [0, 1, 2], [0, 4]]) | past(9)",
    f"past(40) & ~blocks(1, [[], [0], [{EVERYTHING}], [3], [{EVERYTHING}], [2, 4], [6]])",
    "past(30) & ~random_keys(20, 1)",
    "random_past_blocks(2, 20, 3) | past(3)",
    "random_blocks(16, 65536, 3) & q % 3 == 0",
]


@pytest.mark.parametrize("text", longer(RAGGED, 2))
def test_rows_of_tables_of_all_lengths(text: str) -> None:
    for n_q, n_k, q_offset in ((50, 75, None), (40, 33, 9)):
        check(pattern_of(f"pattern p = {text}"), n_q, n_k, q_offset, heads=2, kv_heads=1)


def test_rows_without_keys() -> None:
    check(pattern_of("pattern p = past(5) & k >= 30 & q % 3 != 0"), 64, 64)


@pytest.mark.parametrize("text", longer(FROM_LISTS, 2))
def test_tiles_from_lists(text: str) -> None:
    pattern = pattern_of(f"pattern p = {text}")
    check(pattern, 50, 75, heads=4, kv_heads=2, module=listed_module_of(pattern))
    check(pattern, 40, 33, 9, heads=2, kv_heads=1, module=listed_module_of(pattern))


def test_no_key_at_all() -> None:
    check(pattern_of("pattern p = k > q + 1000000"), 20, 20)


def test_without_keys() -> None:
    q, k = torch.ones(1, 1, 5, 16), torch.ones(1, 1, 0, 16)
    program = module_of(pattern_of("pattern p = causal"))._PROGRAM
    call = Call(q, k, k, 0.25)
    out, lse = forward_gpu(program, call)
    assert not out.any()
    assert (lse == -torch.inf).all()
    dq, dk, dv = backward_gpu(program, call, Upstream(q, out, lse))
    assert not dq.any()
    assert dk.shape == dv.shape == k.shape


@pytest.mark.parametrize("text", longer(SPREAD, 2, 1))
def test_layouts(text: str) -> None:
    pattern = pattern_of(f"pattern p = {text}")
    check(pattern, 50, 75, heads=2, kv_heads=1, module=spread_module_of(pattern))
    check(pattern, 40, 33, 9, heads=2, kv_heads=1, module=spread_module_of(pattern))


@pytest.mark.parametrize("text", FROM_LISTS_IN_LAYOUTS)
def test_layouts_from_lists(text: str) -> None:
    pattern = pattern_of(f"pattern p = {text}")
    module = spread_listed_module_of(pattern)
    assert any(region.stride > 1 or region.gathered for region in module._PROGRAM.groups[0].at(75).regions)
    check(pattern, 40, 65, 9, heads=2, kv_heads=1, module=module)


@pytest.mark.parametrize("text", ["causal & stride(2)", "causal & (past(8) | stride(2))"])
def test_whole_classes(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows in whole tiles of 128 a class: what kernels leave for one another is written by kernels alone."""
    empty = torch.Tensor.new_empty
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda *size, **kind: empty(*size, **kind).fill_(torch.nan))
    pattern = pattern_of(f"pattern p = {text}")
    module = spread_module_of(pattern)
    assert any(part.stride == 2 for part in module._PROGRAM.groups[0].at(256).regions)
    check(pattern, 256, 256, heads=1, kv_heads=1, module=module)


DESCRIBED = [  # which of the constant TMA, in a call of 96 or 50 queries
    ("causal & (past(16) | stride(16))", 96, {2}),
    ("causal & (past(16) | stride(16))", 50, {0, 1, 2}),  # classes of unequal size have no descriptors
    ("causal & (same_block(16) | k % 16 in {14, 15})", 50, {2}),
    ("window(9) | global(3) | stride(12) & causal", 96, {2}),
    ("block_window(32, 3) | random_blocks(32, 1, 1)", 50, {2}),
    ("random_keys(3, 1) | past(9)", 96, {0, 2}),
]


@pytest.mark.parametrize(("text", "n_q", "expected"), DESCRIBED)
def test_descriptors(text: str, n_q: int, expected: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Loads as of GPUs with a tensor memory accelerator, though these sequences are short."""
    pattern = pattern_of(f"pattern p = {text}")
    module, found = spread_module_of(pattern), set()
    monkeypatch.setattr(prepare, "device_tier", lambda device, width: "tma")
    monkeypatch.setattr(prepare, "TMA_LENGTH", 1)
    monkeypatch.setattr(prepare, "TMA_STILL", 1)

    def noted(*arguments) -> prepare.Prepared:
        prepared = prepare.prepare_launch(*arguments)
        found.add(prepared.constants["TMA"] + prepared.constants["OWN_TMA"])
        return prepared

    for module_of_launches in (rows, backward):
        monkeypatch.setattr(module_of_launches, "prepare_launch", noted)
    check(pattern, n_q, 144, heads=2, kv_heads=1, module=module, dtype=torch.float16)
    assert found == expected


def test_layouts_by_head() -> None:
    cases = "0 -> causal & stride(4), 1 -> past(9) | k % 32 < 2, 2 -> causal | random_keys(2, 4), else -> stride(3)"
    pattern = pattern_of(f"pattern p = match h {{ {cases} }}", 4)
    check(pattern, 61, 70, heads=4, kv_heads=2, module=spread_module_of(pattern))


def test_heads_that_differ_in_their_answers() -> None:
    """Kernels are told by constants which keys the heads that they serve touch."""
    pattern = pattern_of("pattern p = match h { 0 -> past(100), 1 -> window(100), else -> past(100) | sinks(4) }", 3)
    module = module_of(pattern)
    first, second, third = (group.at(1).regions[0].answers for group in module._PROGRAM.groups)
    assert (first.keys, second.keys, third.keys) == (module._keys_0, module._keys_1, module._keys_2)
    check(pattern, 50, 75, heads=3, kv_heads=1, module=module)


def split_by_three(patch: pytest.MonkeyPatch) -> None:
    """Three programs for each tile of global tokens, however short the sequence is."""

    def split(prefix: int, length: int, block: int, _: int, own: int, batch: int, heads: int) -> Split:
        tiles = -(-min(max(prefix, 0), length) // block)
        values = {"split_tiles": tiles, "splits": 3}
        return Split(2 * tiles, 3 * batch * heads * bool(tiles), tiles * block, values, (own, batch))

    for module in (rows, backward):
        patch.setattr(module, "split_first_tiles", split)


SHARED = [
    "window(9) | global(3)",
    "past(16) | sinks(4)",
    "past(9) | q < 20",
    "k % 24 < 2",
    "global(3) | k % 24 < 2",
    "window(9) | global(3) | stride(8)",  # handed on
    "global(4) | random_blocks(32, 1, 3) | stride(8)",  # taken over
]


@pytest.mark.parametrize(("lengths", "text"), longer([*product([(90, 90, None), (40, 33, 9), (50, 80, 2)], SHARED)], 2))
def test_shared_tiles(text: str, lengths: tuple[int, int, int | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of global tokens by three programs each, though these sequences are short."""
    pattern = pattern_of(f"pattern p = {text}")
    module = spread_module_of(pattern)
    split_by_three(monkeypatch)
    check(pattern, *lengths, heads=2, kv_heads=1, module=module)


@pytest.mark.parametrize("text", ["past(9)", "past(9) | stride(8)"])
def test_an_infinity_stays_in_its_column(text: str) -> None:
    """Also where a part hands it on to the next."""
    pattern = pattern_of(f"pattern p = {text}")
    q, k, v = (torch.randn(1, 1, 40, 16, dtype=torch.float16) for _ in range(3))
    v[..., 5, 3] = torch.inf
    out = interpreted(spread_module_of(pattern))(q, k, v, scale=0.25, q_offset=0, return_lse=True)[0]
    assert not out[..., 3].isfinite().all()
    assert out[..., [column for column in range(16) if column != 3]].isfinite().all()


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_shared_tiles_by_head(kv_heads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of heads that share a key head, and groups that do not."""
    cases = "0 -> window(9) | global(3), 1 -> k % 24 < 2, else -> past(16) | sinks(4) | k % 24 < 2"
    pattern = pattern_of(f"pattern p = match h {{ {cases} }}", 4)
    module = spread_module_of(pattern)
    assert backward._shared_keys(module._PROGRAM, 4, kv_heads) == (kv_heads < 4)
    split_by_three(monkeypatch)
    check(pattern, 40, 70, heads=4, kv_heads=kv_heads, module=module)


@pytest.mark.parametrize("lengths", [(90, 90, None), (40, 104, 64), (50, 80, 2), (70, 33, 32)], ids=str)
def test_whole_blocks(lengths: tuple[int, int, int | None]) -> None:
    """Tiles within blocks and across them: kernels without a mask, and with it."""
    pattern = pattern_of("pattern p = block_window(32, 3) | global(32) | random_blocks(32, 1, 2)")
    assert module_of(pattern)._PROGRAM.groups[0].at(1).regions[0].block == 32
    check(pattern, *lengths, heads=2, kv_heads=1)


any_program = st.one_of(programs(), match_programs())


@settings(max_examples=15)
@given(any_program, st.integers(1, 50), st.integers(1, 60), st.integers(0, 40), st.booleans())
def test_random_patterns(program, n_q: int, n_k: int, q_offset: int, half: bool) -> None:
    pattern = random_pattern(program)
    heads = program.heads or 2
    kv_heads = 2 if heads % 2 == 0 else 1
    dtype = torch.float16 if half else torch.float32
    check(pattern, n_q, n_k, q_offset, heads=heads, kv_heads=kv_heads, dtype=dtype)


@pytest.mark.full
@given(layered, st.integers(0, 9), *(st.integers(least, most) for least, most in ((1, 90), (1, 90), (0, 60))))
def test_random_layouts(condition: Set, tokens: int, n_q: int, n_k: int, q_offset: int) -> None:
    """Also with global tokens, whose tiles are shared by three programs."""
    if tokens:
        condition = Or((condition, *(Compare(Var(name), "<", Const(tokens)) for name in "qk")))
    pattern = random_pattern(Program("", (condition,)))
    module = spread_module_of(pattern)
    with pytest.MonkeyPatch.context() as patch:
        split_by_three(patch)
        check(pattern, n_q, n_k, q_offset, heads=2, kv_heads=1, module=module)
