from itertools import product

import islpy as isl
import pytest

from sparsec.sets.context import context
from sparsec.sets.loop_nests import TooManyCases, nests
from sparsec.sets.pieces import Piece, pieces, tightened

SETS = {
    "window or first": "0 <= q - k < 3 or k < 2 or q < 2",
    "stride": "(q - k) mod 3 = 0",
    "blocks": "floor(q / 3) = floor(k / 3)",
    "columns": "k mod 4 >= 3 and k <= q",
    "floors of floors": "floor((q + floor(k / 2)) / 3) mod 2 = 1",
    "a part of n": "2 * k <= n",
}


def read(condition: str) -> isl.Set:
    return isl.Set.read_from_str(context(), f"[n] -> {{ [q, k] : 0 <= q, k < n and ({condition}) }}")


def holds(piece: Piece, values: dict[str, int]) -> bool:
    return all(row.at(values) == 0 for row in piece.equalities) and all(
        row.at(values) >= 0 for row in piece.inequalities
    )


@pytest.mark.parametrize("condition", SETS.values(), ids=SETS)
def test_every_point_is_in_one_piece_with_one_value_of_the_floors(condition):
    n = 7
    points = read(condition)
    place = points.fix_val(isl.dim_type.param, 0, n)
    for q, k in product(range(-1, n + 1), repeat=2):
        found = 0
        for piece in pieces(points):
            floors = [name for name in piece.names if name not in ("q", "k", "n")]
            for values in product(range(-9, 10), repeat=len(floors)):
                found += holds(piece, {"q": q, "k": k, "n": n, **dict(zip(floors, values, strict=True))})
        point = place.intersect(isl.Set.read_from_str(context(), f"[n] -> {{ [{q}, {k}] }}"))
        assert found == (not point.is_empty())


def test_tightened_drops_what_is_implied():
    (piece,) = pieces(read("k < 5 and k < 9"))
    rows = tightened(piece).inequalities
    assert len(rows) == 5
    assert tightened(Piece(("x",), (), (rows[0] * 0 - 1,))) is None


def test_too_many_cases():
    with pytest.raises(TooManyCases):
        nests([(1, piece) for piece in pieces(read(SETS["blocks"]))], frozenset({"n"}), limit=2)
