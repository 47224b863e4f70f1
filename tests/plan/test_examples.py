"""The plans of the examples: the same in every process, and with no tile that holds nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.kernel import only_region, visited

from sparsec.ir import nodes as ir
from sparsec.ir import reference
from sparsec.lower.file import lower
from sparsec.plan.build import build
from sparsec.source import Source
from sparsec.syntax.parse import parse

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.spat"))
N = 1500


def lowered(path: Path, shrink: int = 1) -> ir.Pattern:
    """The pattern of an example; with `shrink`, its long windows divided by it, so that short masks show its shape."""
    file = parse(Source(path.name, path.read_text()))
    whole = lower(file, heads=8, layer=0)
    return lower(
        file, heads=8, layer=0, parameters={name: x // shrink for name, x in whole.parameters if x // shrink >= 32}
    )


@pytest.mark.parametrize("block", [16, 64])
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_no_tile_in_vain(path: Path, block: int) -> None:
    for region in map(only_region, build(lowered(path, shrink=8), layouts=False, lists=False).groups):
        kept = reference.mask(region.condition, N, N)
        edges = np.arange(0, N, block)
        some = np.logical_or.reduceat(np.logical_or.reduceat(kept, edges, axis=0), edges, axis=1)
        for cover, wanted in ((region.rows, some), (region.columns, some.T)):
            tiles = [visited(cover, low, low + block - 1, N, N, block) for low in edges.tolist()]
            met = np.zeros_like(wanted)
            for row, row_tiles in enumerate(tiles):
                met[row, row_tiles] = True
            vain = int((met & ~wanted).sum())
            print(f"{path.stem}, side {cover.side}, block {block}: {vain} of {sum(map(len, tiles))} tiles in vain")
            assert cover.tables or not (wanted & ~met).any()
            assert not vain or cover.precision != "exact"


PLANS = """
import sys
from sparsec.lower.file import lower
from sparsec.plan.build import build
from sparsec.source import Source
from sparsec.syntax.parse import parse
for name in sys.argv[1:]:
    print(build(lower(parse(Source("p", open(name).read())), heads=8, layer=0), layouts=True))
"""


def test_the_same_in_every_process() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-c", PLANS, *map(str, EXAMPLES)],
            capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(printed) == 1
    assert "Group" in printed.pop()
