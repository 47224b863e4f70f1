"""Kernels whose masks read data of the call, in Triton's interpreter."""

from __future__ import annotations

import re
from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.generated import mask_of, module_of, pattern_of, random_pattern, spread_module_of
from support.longer import longer

from sparsec.ir import nodes
from sparsec.kernels.launches import prepare
from sparsec.kernels.launches.kernel_inputs import for_kernels
from sparsec.kernels.launches.launch import Environment, Launch, Pass, Slot
from sparsec.kernels.lists import data_tiles, long_lines
from sparsec.kernels.lists.judging import list_tiles
from sparsec.kernels.machine.settings import Settings
from sparsec.kernels.operator import packed
from sparsec.kernels.passes.backward import backward_gpu
from sparsec.kernels.passes.forward import forward_gpu, prepared_forward
from sparsec.kernels.program.arguments import Call, Upstream
from sparsec.kernels.program.inputs import checked_inputs, form_of
from sparsec.kernels.sequences import sequences
from sparsec.testing import compare, random_problem
from sparsec.testing.data import masks, random_data
from sparsec.testing.dense_attention import Results
from sparsec.testing.programs import input_programs

SMALL = (32, 16, 4, 1, None), (32, 16, 4, 1, None), (16, 32, 4, 1, None)  # forward, dq, dkdv


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "SETTINGS", dict.fromkeys(prepare.SETTINGS, Settings(*SMALL)))
    monkeypatch.setattr(data_tiles, "_LISTED_AT_ONCE", 4)
    monkeypatch.setattr(long_lines, "_LEAST_STEPS", 1)  # three steps are a long line
    for name, number in {"_SHARES": 16, "_FEW_LINES": 16, "_COUNTS_AT_ONCE": (2, 4)}.items():
        monkeypatch.setattr(long_lines, name, number)


def check(
    module: ModuleType,
    pattern: nodes.Pattern,
    n_q: int,
    n: int,
    q_offset: int,
    data: dict[str, np.ndarray],
    *,
    heads: tuple[int, int] = (2, 1),
    batch: int = 2,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Forward and every gradient of rows of a batch with data of their own."""
    mask = masks(pattern, data, batch, heads[0], np.arange(n_q) + q_offset, n)
    problem = random_problem(mask, heads=heads[0], kv_heads=heads[1], batch=batch, dtype=dtype)
    program, tensors = module._PROGRAM, (problem.q, problem.k, problem.v)
    program.passes.clear()
    given = checked_inputs(program.inputs, {name: torch.as_tensor(x) for name, x in data.items()}, problem.q, problem.k)
    call = Call(*tensors, problem.scale, q_offset, inputs=given)
    out, lse = forward_gpu(program, call)
    gradients = backward_gpu(program, call, Upstream(problem.g, out, lse, problem.dlse))
    found = compare(Results(out, lse, *gradients), problem)
    assert all(each.holds for each in found), ", ".join(map(str, found))


DECLARED = (
    "input doc: int[n] input cls: bool[B, n] input w: int[B, H] input m: int input u: int[B, H, t] input s: int[t]\n"
)
CONDITIONS = [
    "causal & doc[q] == doc[k]",
    "past(w) | cls[q] | cls[k] & k < m",
    "causal & (k in u | q - k in s)",
    "causal & ~(k in u) & u[h, q // 40] < k",
    "causal & k - 3 * doc[q // 2] > doc[doc[k]] % 5 + m // 2",
    "causal & (past(9) | stride(8)) & (doc[q] == doc[k] | cls[k])",
    "causal & (k % 16 >= 14 | past(6) & w > 2) & doc[q] >= m",
    "past(4) | random_blocks(16, 1, 2) & cls[q]",
]


@pytest.mark.parametrize("condition", longer(CONDITIONS, 2, 1))
def test_conditions(condition: str) -> None:
    pattern = pattern_of(f"{DECLARED}pattern p = {condition}")
    module = spread_module_of(pattern)
    seed = len(condition) % 2
    n_q, n, q_offset = ((50, 50, 0), (33, 50, 40))[seed]
    data = random_data(pattern.inputs, 2, 2, n, seed, n_q=n_q, kv_heads=1)
    check(module, pattern, n_q, n, q_offset, data, dtype=(torch.float32, torch.float16)[seed])


def test_heads_with_patterns_of_their_own() -> None:
    text = "input doc: int[n] input w: int[H] pattern p = match h "
    pattern = pattern_of(text + "{ 0 -> past(w[h]), 1 | 3 -> doc[q] == doc[k], else -> causal & k % 5 < w[h] }", 4)
    data = random_data(pattern.inputs, 1, 4, 61, 2)
    check(module_of(pattern), pattern, 61, 61, 0, data, heads=(4, 2), batch=1)


@settings(max_examples=4)
@given(input_programs(), st.sampled_from(((40, 40, 0), (5, 70, 65), (33, 20, 9))), st.integers(0, 99))
def test_random_programs(program, sizes, seed) -> None:
    pattern = random_pattern(program)
    data = random_data(pattern.inputs, 2, 2, sizes[1], seed, n_q=sizes[0], kv_heads=1)
    check(module_of(pattern), pattern, *sizes, data)


# ---------------------------------------------------------------- several sequences


PACKED = [
    "causal & doc[q] == doc[k]",
    "past(20) & ~cls[k] | cls[q] & k < m",
    "causal & w[h] < q - k & doc[k] > 0 | q - k < u[h, 1]",
    "causal & stride(3) & doc[q] == doc[k]",
]


@pytest.mark.parametrize("condition", [PACKED[2], *(pytest.param(each, marks=pytest.mark.full) for each in PACKED)])
def test_documents(condition: str) -> None:
    """Each as if it stood alone, with the entries of its own positions."""
    pattern, ends, length = pattern_of(f"{DECLARED}pattern p = {condition}"), [0, 1, 40, 40, 73, 90], 90
    data = random_data(pattern.inputs, 1, 2, length, 3)
    mask = np.zeros((1, 2, length, length), bool)
    for first, stop in pairwise(ends):
        own = {each.name: _cut(each, data[each.name], slice(first, stop)) for each in pattern.inputs}
        mask[:, :, first:stop, first:stop] = masks(pattern, own, 1, 2, np.arange(stop - first), stop - first)
    check_packed(pattern, sequences.of_documents(torch.tensor(ends), length), data, mask)


@pytest.mark.parametrize("condition", PACKED[1:2])
def test_rows_of_unequal_length(condition: str) -> None:
    """Padding on both sides: entries stand where keys do."""
    pattern, n = pattern_of(f"{DECLARED}pattern p = {condition}"), 50
    first, count = [0, 13, 0], [50, 30, 20]
    data = random_data(pattern.inputs, 3, 2, n, 4)
    mask = np.zeros((3, 2, n, n), bool)
    for row, (begin, size) in enumerate(zip(first, count, strict=True)):
        chosen = {each.name: data[each.name][[row]] if "B" in each.axes else data[each.name] for each in pattern.inputs}
        kept = slice(begin, begin + size)
        own = {each.name: _cut(each, chosen[each.name], kept) for each in pattern.inputs}
        mask[row, :, kept, kept] = masks(pattern, own, 1, 2, np.arange(size), size)[0]
    offsets = torch.tensor(count), None, None, -torch.tensor(first)
    check_packed(pattern, sequences.of_rows(3, n, n, torch.device("cpu"), *offsets), data, mask)


def _cut(own, some: np.ndarray, positions: slice) -> np.ndarray:
    return some[..., positions] if own.axes[-1:] == ("n",) else some


def check_packed(pattern: nodes.Pattern, table: torch.Tensor, data: dict[str, np.ndarray], mask: np.ndarray) -> None:
    program = spread_module_of(pattern)._PROGRAM
    assert packed.at_once(program, anywhere=True)
    program.passes.clear()
    problem = random_problem(mask, heads=2, kv_heads=1, batch=len(mask), dtype=torch.float32)
    tensors = problem.q, problem.k, problem.v
    given = checked_inputs(program.inputs, {name: torch.as_tensor(x) for name, x in data.items()}, *tensors[:2])
    call = Call(*tensors, problem.scale, inputs=given, table=table)
    out, lse = packed.forward_packed(program, call)
    gradients = packed.backward_packed(program, call, Upstream(problem.g, out, lse, problem.dlse))
    found = compare(Results(out, lse, *gradients), problem)
    assert all(each.holds for each in found), ", ".join(map(str, found))


# ---------------------------------------------------------------- lists of tiles


def listed(
    module: ModuleType, n_q: int, n: int, q_offset: int, data: dict[str, np.ndarray], batch: int = 2, heads: int = 2
) -> list[tuple[int, int, int, list[int]]]:
    """What the forward kernel walks over: row of the batch, head, tile of queries, entries."""
    program, q, k = module._PROGRAM, torch.zeros(batch, heads, n_q, 16), torch.zeros(batch, 1, n, 16)
    program.passes.clear()
    given = checked_inputs(program.inputs, {name: torch.as_tensor(x) for name, x in data.items()}, q, k)
    tensors = for_kernels(program, given, max(n, q_offset + n_q), n)
    run = prepared_forward(program, q, k, k, q_offset, data=tensors)
    env = run({"Q": q, "K": k, "V": k, "scale_log2": 1.0, **tensors})
    entries = env["DATA_TILES"]
    (counts,) = (x for name, x in env.items() if re.fullmatch(r"DATA_TILES_.*_COUNTS_\d+", name))
    forms = [form_of(own, use, x.shape) for (own, use), x in zip(uses_of(program), tensors.values(), strict=True)]
    by_batch, by_head = (any(form & bit for form in forms) for bit in (1, 2))
    lines = len(counts) // (batch if by_batch else 1) // (heads if by_head else 1)
    found = []
    for line, (start, count) in enumerate(zip(starts_of(run, env), counts.tolist(), strict=True)):
        head = line // lines % heads if by_head else 0
        own = entries[start : start + abs(count)].tolist()
        found.append((line // lines // (heads if by_head else 1), head, line % lines, own))
    return found


def starts_of(run: Pass, env: Environment) -> list[int]:
    """Where the lines of the last list of a pass begin."""
    *_, made = (step for step in run.steps if isinstance(step, Launch) and step.kernel is list_tiles)
    starts = made.arguments[list_tiles.arg_names.index("STARTS")]
    return env[starts.name].tolist() if isinstance(starts, Slot) else starts[:-1].tolist()


def uses_of(program) -> list:
    return [(own, use) for own in program.inputs for use in own.uses]


def tiles_of(mask: np.ndarray, line: int) -> tuple[set[int], set[int]]:
    """Of a mask [n_q, n] the tiles of keys that a tile of queries touches, and those that it has whole."""
    (block_m, block_n, *_), *_ = SMALL
    rows = mask[line * block_m : (line + 1) * block_m]
    tiles = [rows[:, first : first + block_n] for first in range(0, rows.shape[1], block_n)] if len(rows) else []
    return {i for i, x in enumerate(tiles) if x.any()}, {i for i, x in enumerate(tiles) if x.all()}


EXACT = [
    "causal & doc[q] == doc[k]",
    "past(w)",
    "window(9) | cls[q] | cls[k]",
    "causal & k in u",
    "q - k in s",
    "past(9) | k < m",
    "k - m in s & cls[q]",
]


@pytest.mark.parametrize("condition", EXACT)
def test_tiles_are_those_that_hold_a_pair(condition: str) -> None:
    pattern = pattern_of(f"{DECLARED}pattern p = {condition}")
    data = random_data(pattern.inputs, 2, 2, 100, 0)
    if "doc" in data:
        data["doc"] = np.arange(100) // 37
    mask = masks(pattern, data, 2, 2, np.arange(100), 100)
    for row, head, line, entries in listed(module_of(pattern), 100, 100, 0, data):
        touched, whole = tiles_of(mask[row, head], line)
        assert [entry // 4 for entry in entries] == sorted(touched)
        assert {entry // 4 for entry in entries if entry % 4 == 1} <= whole


def test_tiles_where_no_test_of_data_holds() -> None:
    """The list says which they are, and their pairs are those without the tests."""
    pattern = pattern_of(f"{DECLARED}pattern p = window(9) | cls[q] | cls[k]")
    cls = np.arange(100)[None].repeat(2, 0) % 50 == 3
    mask = masks(pattern, {"cls": cls}, 2, 2, np.arange(100), 100)
    (rows, columns, *_), *_ = SMALL
    found = set()
    for row, head, line, entries in listed(module_of(pattern), 100, 100, 0, {"cls": cls}):
        for entry in entries:
            q, k = (slice(at * size, at * size + size) for at, size in ((line, rows), (entry // 4, columns)))
            assert entry % 4 == 1 or (entry % 4 == 2) == (not cls[row, q].any() and not cls[row, k].any())
            found.add(entry % 4)
            if entry % 4 == 2:
                assert (mask[row, head, q, k] == mask_of(pattern_of("pattern p = window(9)"), 100, 100)[q, k]).all()
    assert found == {0, 1, 2}


@settings(max_examples=6)
@given(input_programs(), st.sampled_from(((60, 60, 0), (5, 70, 65), (33, 20, 9))), st.integers(0, 99))
def test_no_tile_with_a_pair_is_missing(program, sizes, seed) -> None:
    pattern = random_pattern(program)
    module = module_of(pattern)
    (group,) = module._PROGRAM.groups
    variant = group.at(sizes[1])
    assume(len(variant.regions) == 1 and variant.regions[0].answers.judge)
    n_q, n, q_offset = sizes
    data = random_data(pattern.inputs, 2, 2, n, seed, n_q=n_q, kv_heads=1)
    mask = masks(pattern, data, 2, 2, np.arange(n_q) + q_offset, n)
    for row, head, line, entries in listed(module, *sizes, data):
        touched, whole = tiles_of(mask[row, head], line)
        tiles = [entry // 4 for entry in entries]
        assert tiles == sorted(set(tiles))
        assert touched <= set(tiles)
        assert {entry // 4 for entry in entries if entry % 4 == 1} <= whole
