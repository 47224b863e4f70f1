"""Settings worth trying in place of another."""

from __future__ import annotations

from collections.abc import Iterator

from sparsec.codegen.tuned_files import right
from sparsec.kernels.machine.settings import Setting

_LARGEST_TILE = 128 * 128
_LESS_REGISTERS = 128  # a thread: two programs of 8 warps, or four of 4, share a multiprocessor of 64 K registers


def candidates(usual: Setting, most: int, known: Setting | None = None) -> list[Setting]:
    """At most that many, the likeliest first, without the usual one; `known` is one that was found before."""
    fitting = [each for each in _around(*usual) if right(each) and each[0] * each[1] <= _LARGEST_TILE]
    wanted = dict.fromkeys([*([known] if known else []), *fitting])
    return [each for each in wanted if each != usual][:most]


def _around(m: int, n: int, warps: int, stages: int, registers: int | None) -> Iterator[Setting]:
    """Other depths of the pipeline; smaller tiles, more of which run at a time; larger tiles by more warps."""
    twice = 2 * warps
    yield from ((m, n, warps, stages + step, registers) for step in (-1, 1))
    yield (m, n // 2, warps, stages, registers)
    yield (m, n // 2, warps, stages - 1, registers)
    yield (m, n // 2, warps, stages - 1, _LESS_REGISTERS)
    yield (m // 2, n, warps, stages, registers)
    yield (2 * m, n, twice, stages, registers)
    yield (m, 2 * n, warps, stages - 1, registers)
    yield (m, 2 * n, twice, stages - 1, registers)
    yield (2 * m, n, twice, stages - 1, _LESS_REGISTERS)
    yield (2 * m, n // 2, twice, stages, registers)
    yield (m // 2, 2 * n, warps, stages, registers)
    yield (m, n, twice, stages, registers)
    yield (m // 2, 2 * n, twice, stages, registers)
    yield (2 * m, n // 2, twice, stages, _LESS_REGISTERS)
    yield (2 * m, n, twice, stages - 1, registers)
    yield (m, n // 2, warps, stages + 1, registers)
    yield (m // 2, n, warps, stages + 1, registers)
    yield (m, 2 * n, twice, stages, registers)
    yield (2 * m, 2 * n, twice, stages - 1, registers)
    yield (2 * m, n, warps, stages - 1, registers)
    yield (m, n, warps // 2, stages, registers)
    yield (m // 2, n // 2, warps, stages, registers)
    yield (2 * m, 2 * n, twice, stages, registers)
    yield (m, n, warps, stages, _LESS_REGISTERS)
    yield (m, n, warps, stages + 2, registers)
