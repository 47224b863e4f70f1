"""The one generator: fixed for ever, fair, distinct, and independent of what lies beyond."""

from time import process_time

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sparsec.ir.random import bits, distinct, random_blocks, random_keys


def python_bits(seed: int, row: int, counter: int) -> int:
    """The generator as its docstring states it, in Python's integers."""

    def mix(x: int) -> int:
        x = ((x ^ x >> 16) * 0x21F0AAAD) % 2**32
        x = ((x ^ x >> 15) * 0x735A2D97) % 2**32
        return x ^ x >> 15

    return mix((mix((mix((seed + 0x9E3779B9) % 2**32) + row) % 2**32) + counter) % 2**32)


def test_bits_never_change():
    """Kernels and files that were generated earlier draw the same numbers."""
    assert bits(0, np.arange(4), 0).tolist() == [python_bits(0, row, 0) for row in range(4)]
    assert bits(2**31 - 1, np.array([2**31]), 5).tolist() == [python_bits(2**31 - 1, 2**31, 5)]
    assert bits(7, np.arange(3), 1).tolist() == [412138248, 1439239888, 1379228246]
    assert random_keys(3, 1, 8)[:2].tolist() == [[2, 3, 6], [0, 4, 7]]


def test_rows_in_python():
    """Floyd's algorithm, row by row."""
    below = np.array([0, 1, 2, 5, 9, 100])
    for row, m in enumerate(below.tolist()):
        taken = min(4, m)
        chosen = []
        for step in range(taken):
            last = m - taken + step
            drawn = python_bits(3, row, step) * (last + 1) >> 32
            chosen.append(last if drawn in chosen else drawn)
        assert distinct(4, 3, np.arange(len(below)), below)[row].tolist() == chosen + [-1] * (4 - taken)


@given(st.integers(1, 90), st.integers(0, 2**31 - 1), st.lists(st.integers(0, 120), max_size=6), st.integers(0, 2**30))
@example(60, 0, [61, 62, 63, 64, 120], 7)  # long chains of steps that fall back
def test_rows_are_drawn_as_if_step_by_step(count: int, seed: int, below: list[int], first: int) -> None:
    rows = first + np.arange(len(below))
    found = distinct(count, seed, rows, np.array(below, np.int64))
    for row, m, drawn in zip(rows.tolist(), below, found.tolist(), strict=True):
        chosen = []
        for step in range(min(count, m)):
            last = m - min(count, m) + step
            t = python_bits(seed, row, step) * (last + 1) >> 32
            chosen.append(last if t in chosen else t)
        assert drawn == chosen + [-1] * (len(drawn) - len(chosen))


def test_many_numbers_of_a_row_take_time_in_proportion() -> None:
    """Step by step, each compared with all before it, a row like these took 4 billion comparisons."""
    start = process_time()
    assert (np.sort(random_keys(65_535, 0, 65_536, np.arange(3)))[:, 1:] <= 65_535).all()
    everything = random_keys(65_536, 0, 65_536, np.arange(3))
    assert (everything == np.arange(65_536)).all()
    assert process_time() - start < 2


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("n", [0, 1, 5, 64])
def test_distinct_and_in_range(count, n):
    table = random_keys(count, 5, n)
    assert table.shape == (n, min(count, n))
    for row in table.tolist():
        taken = [key for key in row if key >= 0]
        assert len(set(taken)) == len(taken) == min(count, n)
        assert all(key < n for key in taken)


def test_past_is_stable():
    """Growing n changes no earlier row, and no block lies after its own."""
    short, long = random_blocks(4, 3, 9, 50, past=True), random_blocks(4, 3, 9, 400, past=True)
    np.testing.assert_array_equal(short, long[: len(short)])
    assert (long.max(axis=1) <= np.arange(len(long))).all()


def test_shapes():
    assert random_blocks(16, 3, 0, 100).shape == (7, 3)
    assert random_keys(9, 0, 5).shape == (5, 5)
    assert (random_blocks(16, 9, 0, 100) >= 0).sum(axis=1).tolist() == [7] * 7


def test_seeds_differ():
    tables = [random_keys(3, seed, 64) for seed in range(20)]
    assert len({table.tobytes() for table in tables}) == 20


def test_fair():
    """Every key is drawn about equally often, in every column and from every seed (chi-squared, 5 deviations)."""
    for seed in range(5):
        table = random_keys(4, seed, 1 << 14) >> 8  # 64 classes of 256 keys
        for column in (table, table[:1000], table[:, :1]):
            seen = np.bincount(column.ravel(), minlength=64)
            mean = column.size / 64
            assert ((seen - mean) ** 2 / mean).sum() < 63 + 5 * np.sqrt(2 * 63)


def test_the_same_in_torch():
    """The generator again, as generated files have it: int64 in torch."""
    torch = pytest.importorskip("torch")

    def mix(x):
        x = (x ^ x >> 16) * 0x21F0AAAD & 0xFFFFFFFF
        x = (x ^ x >> 15) * 0x735A2D97 & 0xFFFFFFFF
        return x ^ x >> 15

    def draw(count, seed, below):
        row = torch.arange(len(below))
        start = mix(mix(torch.tensor(seed + 0x9E3779B9 & 0xFFFFFFFF)) + row & 0xFFFFFFFF)
        taken = below.clamp(max=count)
        chosen = torch.full((len(below), count), -1)
        for step in range(count):
            last = below - taken + step
            drawn = mix(start + step & 0xFFFFFFFF) * (last + 1) >> 32
            repeated = (chosen[:, :step] == drawn[:, None]).any(1)
            chosen[:, step] = torch.where(step < taken, torch.where(repeated, last, drawn), -1)
        return chosen

    below = torch.arange(300) % 50
    np.testing.assert_array_equal(
        draw(7, 2**31 - 1, below).numpy(), distinct(7, 2**31 - 1, np.arange(300), below.numpy())
    )
