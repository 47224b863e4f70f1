"""Cases of two ranks, small ones first."""

from __future__ import annotations

from support.sharded import Case

CASES = [
    Case("past(60) | sinks(2)", 1000, documents=(0, 300, 301, 640, 1000)),
    Case("input b: float[H, n] score f = s + b[k] pattern p = causal with f", 900, layout="head-tail"),
    Case("pattern p = causal & (past(64) | top_blocks(2, 32, among = causal))", 1000),
    Case("causal", 1200, documents=(0, 300, 301, 640, 1200), on_device=True, layout="head-tail"),
    Case("input doc: int[n] pattern p = past(100) & doc[q] == doc[k]", 1501, sinks=True),
    Case("past(100) | sinks(4)", 1501, key_heads=1, dropout_p=0.2),
    Case("window(33) | columns(128, 4)", 1500),
    Case("causal", 1026, layout="head-tail", batch=2),
    Case("past(100) | sinks(4)", 2111, 4, 2, sinks=True),
]
