import pytest

from sparsec.analysis.complexity import NOT_CLASSIFIED, complexity
from sparsec.lower.file import lower
from sparsec.source import Source
from sparsec.syntax.parse import parse

CLASSES = {
    "pattern p = full": "O(n^2)",
    "pattern p = causal": "O(n^2)",
    "pattern p(w = 512) = window(w)": "O(n*w)",
    "pattern p(w = 512) = past(w) & causal": "O(n*w)",
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
    "pattern p(r = 7) = abs(q // 64 - k // 64) <= r & abs(q % 64 - k % 64) <= r": NOT_CLASSIFIED,
}


@pytest.mark.parametrize("text", CLASSES)
def test_class(text):
    file = parse(Source("<test>", text))
    heads = 4 if "match h" in text else None

    def rebind(parameters):
        return lower(file, parameters=parameters, heads=heads)

    assert complexity(rebind, dict(rebind({}).parameters)) == CLASSES[text]
