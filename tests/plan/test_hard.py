"""Sets that explode: the plan is there in time, and right."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import islpy as isl
import pytest
from support.field_cases import texts
from support.kernel import only_region
from test_cover import Call, check

from sparsec.ir import nodes as ir
from sparsec.lower.file import lower
from sparsec.plan.build import build
from sparsec.sets import budgets, context, to_isl
from sparsec.source import Source
from sparsec.syntax.parse import parse

KEYS = ", ".join(str(i * i * 37 % 9973) for i in range(200))
NEAR = ", ".join(str(i * i * 37 % 397) for i in range(20))
HARD = {
    "complements of strides": "~stride(3) & ~stride(5) & ~stride(7) & ~stride(11)",
    "complements of long strides": "causal & ~(stride(64) | stride(48) | stride(100))",
    "a complement of combs": "~((k - 15 * q) % 64 == 0 | (k - 8 * q) % 17 == 15)",
    "strides within combs": "~stride(17) | (9 * q + k) % 64 == 0 & stride(7) & 4 * k <= q",
    "three dimensions": (
        "abs(q // 256 - k // 256) <= 2 & abs(q // 16 % 16 - k // 16 % 16) <= 2 & abs(q % 16 - k % 16) <= 2"
    ),
    "three longer dimensions": (
        "abs(q // 1024 - k // 1024) <= 3 & abs(q // 32 % 32 - k // 32 % 32) <= 3 & abs(q % 32 - k % 32) <= 3"
    ),
    "exclusive or": "stride(3) \\ columns(5, 2) | columns(5, 2) \\ stride(3)",
    "exclusive or of three": (
        "(same_block(64) \\ stride(3) | stride(3) \\ same_block(64)) \\ columns(7, 3)"
        " | columns(7, 3) \\ (same_block(64) \\ stride(3) | stride(3) \\ same_block(64))"
    ),
    "bits": " | ".join(
        f"q // {b} % 2 == k // {b} % 2 & q // {2 * b} == k // {2 * b} + 1" for b in (8, 16, 32, 64, 128)
    ),
    "200 keys": f"k in {{{KEYS}}} & causal",
    "200 distances": f"q - k in {{{KEYS}}} | past(64)",
    "200 keys or queries": f"k in {{{KEYS}}} | q in {{{KEYS}}}",
    "neither of 200": f"~(k in {{{KEYS}}}) & q not in {{{KEYS}}}",
    "20 distances": f"q - k in {{{NEAR}}}",
    "classes": "(3 * q + 5 * k) % 64 in {0, 7, 9, 13, 22, 31, 40, 41, 55, 63} & ~stride(7)",
    "many blocks": " | ".join(f"q // {b} == k // {b} + 1" for b in (48, 64, 80, 112, 144)),
}


@pytest.mark.parametrize("name", HARD)
def test_in_time_and_exact(name: str, in_time: Callable[[float, float], None]) -> None:
    pattern = lower(parse(Source("hard", f"pattern p = {HARD[name]}\n")))
    start = time.process_time()
    (plan,) = build(pattern, layouts=False, lists=False).groups
    region = only_region(plan)
    in_time(time.process_time() - start, 2)
    print(f"{name}: {region.rows.precision} ({region.rows.why}), {region.columns.precision}")
    for call in (Call(200, 200, 0, 16, 32), Call(65, 300, 235, 32, 24), Call(100, 70, 4, 17, 19)):
        check(pattern.conditions[0], region, call)


@pytest.mark.parametrize("name", ["128 documents", "256 documents", "many strides"])
def test_a_set_that_takes_too_many_steps_is_read_once_with_so_many(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = lower(parse(Source("hard", texts()[name])))
    asked: list[tuple[ir.Set, int]] = []
    read = to_isl._Reader.set

    def counted(self: to_isl._Reader, node: ir.Set, negated: bool) -> isl.Set:
        asked.append((node, context._local.most))
        return read(self, node, negated)

    monkeypatch.setattr(to_isl._Reader, "set", counted)
    (group,) = build(pattern).groups
    (region,) = group.variants[0].regions
    assert [cover.precision for cover in region.covers] == ["list", "list"]
    assert [steps for node, steps in asked if node == region.mask] == [budgets.SIMPLIFY, budgets.PRECISION]


def test_heads_that_share_terms_read_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "examples/longnet_heads.spat").read_text()
    pattern = lower(parse(Source("p", text)), heads=8)
    made: list[tuple[int, ir.Set]] = []
    compare = to_isl._Reader._compare

    def counted(self: to_isl._Reader, node: ir.Compare) -> isl.Set:
        made.append((id(self.known), node))  # a space and a comparison
        return compare(self, node)

    monkeypatch.setattr(to_isl._Reader, "_compare", counted)
    with ThreadPoolExecutor(1) as new:  # which has read nothing
        built = new.submit(build, pattern).result()
    assert made
    assert len(set(made)) == len(made)
    assert build(pattern) == built
