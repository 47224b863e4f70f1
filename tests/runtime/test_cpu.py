"""The torch path against dense attention: random programs and the examples, forward and every gradient."""

from __future__ import annotations

import resource
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.generated import SMALL_PARAMETERS, attend_of, example, mask_of, module_of, pattern_of
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sparsec.diagnostics import EmptyPattern, SparsecError
from sparsec.ir import nodes
from sparsec.kernels.cpu import forward as cpu_forward
from sparsec.kernels.cpu import order as cpu_order
from sparsec.kernels.cpu import runs as cpu_runs
from sparsec.kernels.cpu import step as cpu_step
from sparsec.kernels.cpu import torch_path
from sparsec.kernels.cpu import visits as cpu_visits
from sparsec.kernels.program.arguments import Call, Upstream
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


@given(programs(), lengths(), st.sampled_from((16, 32)), st.sampled_from((1, 2)), st.sampled_from((1, 4, 1 << 14)))
def test_random_programs_in_small_tiles(program, lengths, tile, longest, at_once):
    """Tiles of a few rows and keys in runs of a few tiles, so that short sequences take several of them."""
    pattern = lowered(program)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_order, "TILE", tile)
        patch.setattr(cpu_runs, "_LONGEST", longest)
        patch.setattr(cpu_visits, "_VISITS", at_once)
        patch.setattr(cpu_forward, "_BUDGET", 1 << 14)
        patch.setattr(cpu_step, "_FEW", 0)
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


@settings(max_examples=40)
@given(programs(), lengths(), st.sampled_from((16, 64)), st.booleans())
def test_visits_are_exact(program, lengths, tile, together):
    """Each kept pair is in one visit, each visit has a pair, and its mask says which; runs hold each visit once."""
    pattern = lowered(program)
    n_q, n, q_offset = lengths
    q_offset = n - n_q if q_offset is None else q_offset
    kept = torch.zeros(n_q, n, dtype=torch.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_order, "TILE", tile)
        patch.setattr(cpu_visits, "_VISITS", 1 << 14 if together else 2)
        for region in module_of(pattern)._PROGRAM.groups[0].at(n).regions:
            order = cpu_order.order_of(region, n_q, n, q_offset)
            for part in cpu_visits.parts_of(order):
                visits, runs = cpu_runs.work_of(order, *part, 1)
                masks = cpu_visits.unpacked(visits.words, tile)[visits.mask]
                for row, key, mask in zip(visits.row, visits.key, masks, strict=True):
                    queries = order.queries(row[None])[0]
                    listed = visits.listed is not None
                    keys = visits.listed.view(-1, tile)[key] if listed else order.keys(key[None])[0]
                    assert not mask[queries >= n_q].any()
                    assert not mask[:, keys >= n].any()
                    assert mask.any()
                    mask = mask[queries < n_q][:, keys < n]
                    kept[queries[queries < n_q, None], keys[keys < n]] += mask
                assert int(visits.pairs[visits.mask].sum()) == int(masks.sum())
                of_runs = [run.masks.expand(len(run.keys), -1, -1) for run in runs if run.masks is not None]
                whole = sum(run.keys.numel() * run.height for run in runs if run.masks is None)
                assert sum(int((x != cpu_visits.NO_PAIR).sum()) for x in of_runs) + whole == len(visits.row)
    assert kept.max() <= 1
    assert (kept.numpy() == mask_of(pattern, n_q, n, q_offset)).all()


# ---------------------------------------------------------------- the examples


@pytest.mark.parametrize(
    "name", sorted(SMALL_PARAMETERS.keys() - {"bloom", "gemma2"})
)  # which have scores: test_scores.py
def test_examples(name):
    """Lengths of several steps of rows, more keys than queries, and a single row."""
    pattern = example(name, heads=8, layer=3, **SMALL_PARAMETERS[name])
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


# ---------------------------------------------------------------- threads


class Shared(TorchDispatchMode):
    """Counts the operations whose results are large enough for torch to share them out among threads."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in (result if isinstance(result, tuple) else [result]) if isinstance(x, Tensor)]
        self.count += not func.is_view and any(x.numel() >= 32768 for x in tensors)
        return result


@pytest.mark.parametrize("text", ["past(512)", "causal & stride(64)", "same_block(100)"])
def test_threads_meet_seldom(text):
    """Less than once for each tile of queries: where another process is busy, each time takes milliseconds."""
    program = module_of(pattern_of(f"pattern p = {text}"))._PROGRAM
    x = torch.randn(1, 1, 16384, 16)
    with Shared() as shared:
        call = Call(x, x, x, 0.25)
        torch_path.backward_cpu(program, call, Upstream(x, *torch_path.forward_cpu(program, call)))
    assert shared.count < 150


@pytest.mark.parametrize(
    "text", ["past(99) | sinks(4)", "causal & stride(8)", "random_keys(5, 1) | past(9)", "q // 64 % 2 == k // 64 % 2"]
)
def test_results_are_the_same_bits_for_every_number_of_threads(text):
    attend, threads = attend_of(pattern_of(f"pattern p = {text}")), torch.get_num_threads()
    problem = random_problem(torch.ones(400, 400, dtype=torch.bool).numpy(), heads=4, kv_heads=2, dtype=torch.float32)
    found = []
    try:
        for count in (1, 2, 3, 1):
            torch.set_num_threads(count)
            found.append(run(attend, problem))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        for name in ("out", "lse", "dq", "dk", "dv"):
            assert torch.equal(getattr(found[0], name), getattr(other, name)), name


# ---------------------------------------------------------------- memory


def test_no_object_of_all_pairs():
    """A few MB of tensors at a length whose scores would take 16 GB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    q = torch.randn(1, 1, 65536, 16, requires_grad=True)
    attend_of(example("mistral", w=64))(q, q, q).sum().backward()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB
    assert grown < 500_000


# ---------------------------------------------------------------- heads that share kernels


def test_heads_that_share_kernels_and_differ_in_gathered_keys() -> None:
    assert_exact(example("deepspeed_fixed", 4, layer=0), 1100, 1100)


def test_heads_that_differ_in_tables_of_rows() -> None:
    parts = [" | ".join(f"q in {a}..{a + 9} & k in {a // 2}..{a + more}" for a in range(0, 90, 9)) for more in (9, 30)]
    assert_exact(pattern_of(f"pattern p = match h {{ 0 -> {parts[0]} else -> {parts[1]} }}", 2), 100, 100)
