import pytest
from support.field_cases import NEIGHBOURHOODS, SLIDING_TILES

from sparsec.analysis import complexity as of_complexity
from sparsec.analysis.complexity import NOT_CLASSIFIED, complexity
from sparsec.lower.file import lower
from sparsec.sets.context import allowance
from sparsec.source import Source
from sparsec.syntax.parse import parse

CLASSES = {
    "pattern p = full": "O(n^2)",
    "pattern p = causal": "O(n^2)",
    "pattern p(w = 512) = window(w)": "O(n*w)",
    "pattern p(w = 512) = past(w) & causal": "O(n*w)",
    "pattern p = past(4096)": "O(n)",
    "pattern p = causal & stride(4096) | past(1000000)": "O(n^2)",
    "pattern p = q // 4096 == k // 4096 | k < 100000": "O(n)",
    "pattern p = k < 5000 & q < 5000": "O(1)",
    "pattern p = random_blocks(64, 3, 0)": "O(n)",
    "pattern p = random_keys(30, 0) | past(2)": "O(n)",
    "pattern p = blocks(64, [[0], [0, 1, 2]])": "O(1)",
    "pattern p(w = 64) = past(w) | past(3000)": NOT_CLASSIFIED,
    "pattern p(s = 4) = past(2) | past(s // 64)": NOT_CLASSIFIED,  # O(n) at all s that are small
    "pattern p(s = 4) = stride(s)": "O(n^2/s)",
    "pattern p(s = 4) = causal & stride(s)": "O(n^2/s)",
    "pattern p(w = 512, s = 4) = dilated(w, s)": "O(n*w)",
    "pattern p(w = 512, g = 64) = window(w) | global(g)": "O(n*(w + g))",
    "pattern p(w = 512, s = 4) = causal & (past(w) | sinks(s))": "O(n*(w + s))",
    "pattern p(l = 128) = causal & (past(l) | stride(l))": "O(n*(l + n/l))",
    "pattern p(l = 128, c = 8) = causal & (same_block(l) | columns(l, c))": "O(n*(l + n*c/l))",
    "pattern p(b = 64, w = 3, g = 2, r = 3) = block_window(b, w) | global(g * b) | random_blocks(b, r, 0)": (
        "O(n*b*(w + g + r))"
    ),
    "pattern p(w = 512, p = 64) = past(w) | full": "O(n^2)",
    "pattern p(w = 2048, s = 4) = segments(w, s)": "O(n*w/s^2)",
    "pattern p(w = 2048, s = 4) = match h { 0 -> past(w) else -> causal & stride(s) }": "O(n*(w + n/s))",
    "pattern p = abs(q // 64 // 36 - k // 64 // 36) <= 1 & abs(q // 64 // 6 % 6 - k // 64 // 6 % 6) <= 1"
    " & abs(q // 64 % 6 - k // 64 % 6) <= 1": "O(n)",
    "pattern p(r = 7) = abs(q // 64 - k // 64) <= r & abs(q % 64 - k % 64) <= r": "O(n*r)",
    "pattern p(w = 64, r = 7) = abs(min(max(q // w, r // 2), w - 1 - r // 2) - k // w) <= r // 2"
    " & abs(min(max(q % w, r // 2), w - 1 - r // 2) - k % w) <= r // 2": "O(n*r^2)",
}


@pytest.mark.parametrize("text", CLASSES)
def test_class(text):
    file = parse(Source("<test>", text))
    heads = 4 if "match h" in text else None

    def rebind(parameters):
        return lower(file, parameters=parameters, heads=heads)

    assert complexity(rebind, dict(rebind({}).parameters)) == CLASSES[text]


@pytest.mark.parametrize("pattern", ["nat", "ranges", "tiled"])
def test_steps(pattern):
    """Half a dozen counts of sets with many divisions take well under a second: more parameters are not tried."""
    file = parse(Source("<test>", NEIGHBOURHOODS))

    def rebind(parameters):
        return lower(file, pattern=pattern, parameters=parameters)

    with allowance(10_000_000) as allowed:
        assert complexity(rebind, dict(rebind({}).parameters)) == {"tiled": NOT_CLASSIFIED}.get(pattern, "O(n*r^2)")
    assert allowed.given - allowed.left < 800_000


@pytest.mark.parametrize(
    ("pattern", "expected"), {"small": "O(n)", "medium": "O(n)", "video": "O(n)", "plain": "O(1)"}.items()
)
def test_sliding_tiles(pattern, expected):
    """Sets of fourteen divisions take long; intervals decide most of their boxes, at any length."""
    file = parse(Source("<test>", SLIDING_TILES))
    with allowance(10_000_000) as allowed:
        assert complexity(lambda parameters: lower(file, pattern=pattern, parameters=parameters), {}) == expected
    assert allowed.given - allowed.left < 300_000


def test_heads_share_what_differs_in_numbers_alone():
    file = parse(Source("<test>", "pattern p(w = 64) = match h % 2 { 0 -> past(w) else -> window(w + h) }"))
    counted = []

    def rebind(parameters):
        return lower(file, parameters=parameters, heads=16)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            of_complexity, "_pairs", lambda *asked: counted.append(asked) or of_complexity.affine_count(*asked)
        )
        assert complexity(rebind, {"w": 64}) == "O(n*w)"
    assert len(counted) == 9 + 3 * 2  # each condition once, then one of each kind
