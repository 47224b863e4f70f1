"""What the planner's cost model predicts beside dense attention, and what was measured on an H100 (docs/benchmarks)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparsec.ir import nodes as ir
from sparsec.lower.file import lower
from sparsec.plan.build import build, contiguous
from sparsec.plan.cost_model import cost
from sparsec.syntax.parse import parse
from sparsec.syntax.read import read

BENCHMARKS = Path(__file__).parents[2] / "docs/benchmarks"
DENSE = {"sdpa": ir.Compare(ir.Var("k"), "<=", ir.Var("q")), "sdpa-full": ir.TRUE}
WITHIN = 1.5
RUNS = [
    run
    for name in ("documents", "neighbours", "reach", "sliding_tiles")
    for run in json.loads((BENCHMARKS / f"raw/{name}_h100.json").read_text())["runs"]
    if DENSE.keys() & run["racers"].keys()
]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run["pattern"])
def test_times_beside_dense_are_predicted(run: dict) -> None:
    """Forward and backward together, all heads."""
    n, heads, racers = run["n"], run["heads"], run["racers"]
    times = {name: sum(ms["median"] for ms in racer["ms"].values()) for name, racer in racers.items()}
    [dense] = DENSE.keys() & racers.keys()
    plan = build(lower(parse(read(str(BENCHMARKS / f"patterns/{run['pattern']}.spat"))), heads=heads))
    own = sum((len(group.heads) or heads) * cost(group.at(n), n) for group in plan.groups)
    off = heads * cost(contiguous(DENSE[dense]), n) / own / (times[dense] / times["ours"])
    assert 1 / WITHIN <= off <= WITHIN
