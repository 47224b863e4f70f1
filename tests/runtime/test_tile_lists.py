"""The lists of tiles that kernels visit because a table names them, against the plan and the mask."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from support.generated import module_of, random_pattern
from support.kernel import only_region, visited

from sparsec.ir import nodes as ir
from sparsec.ir.reference import mask
from sparsec.kernels.tables import tiles_beside_ranges
from sparsec.plan.build import build
from sparsec.testing.programs import Program, conditions, tables, terms

NEAR = ir.Compare(ir.Abs(ir.Sub(ir.Var("q"), ir.Var("k"))), "<", ir.Const(9))
CPU = torch.device("cpu")


@given(
    conditions(term=terms() | tables()),
    *(st.integers(1, most) for most in (150, 150, 90)),
    *(st.sampled_from([16, 32, 48]) for _ in range(2)),
)
@example(ir.Or((NEAR, ir.RandomBlocks(8, 2, 0))), 100, 150, 50, 16, 32)
@example(ir.Or((NEAR, ir.Blocks(5, ((),)))), 9, 9, 0, 16, 16)
def test_every_tile_once(condition: ir.Set, n_q: int, n: int, q_offset: int, block_m: int, block_n: int) -> None:
    def tiles(some: ir.Set) -> np.ndarray:
        """Bool [row tiles, column tiles, block_m, block_n], False beyond the ends."""
        kept = np.pad(mask(some, n_q, n, q_offset), ((0, -n_q % block_m), (0, -n % block_n)))
        return kept.reshape(len(kept) // block_m, block_m, -1, block_n).swapaxes(1, 2)

    pattern = random_pattern(Program("", (condition,)))
    plan, module = only_region(build(pattern, layouts=False).groups[0]), module_of(pattern)
    (region,) = module._PROGRAM.groups[0].at(1).regions
    if region.listed:
        return
    for side, cover in (("rows", plan.rows), ("columns", plan.columns)):
        if not cover.tables:
            continue
        starts, codes = (x.tolist() for x in tiles_beside_ranges(region, side, n_q, n, q_offset, block_m, block_n, CPU))
        kept, *named = (x if side == "rows" else x.swapaxes(0, 1) for x in map(tiles, (condition, *cover.tables)))
        assert len(starts) == len(kept) + 1
        for line, pairs in enumerate(kept):
            if side == "rows":
                low = q_offset + line * block_m
                found = visited(cover, low, low + block_m - 1, n, n, block_n)
            else:
                low = line * block_n
                found = visited(cover, low, low + block_n - 1, n, n_q, block_m, q_offset)
            for code in codes[starts[line] : starts[line + 1]]:
                found.append(code // 2)
                assert code % 2 == 0 or any(table[line, code // 2].all() for table in named)
            assert len({*found}) == len(found), "a tile comes twice"
            assert {*np.flatnonzero(pairs.any((1, 2)))} <= {*found}
