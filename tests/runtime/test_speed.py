"""What sparsity is for: time and memory on a CPU against dense attention, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sparsec.codegen.emit import emit
from sparsec.plan.build import build

MEASURE = """
import json, resource, sys, time
import torch
import generated_for_speed as module

def rss():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def run(attend, n):
    torch.manual_seed(0)
    q, k, v, g = (torch.randn(1, 4, n, 64) for _ in range(4))
    inputs = [x.requires_grad_() for x in (q, k, v)]
    before, start = rss(), time.perf_counter()
    torch.autograd.grad(attend(*inputs), inputs, g)
    return time.perf_counter() - start, rss() - before

def dense(q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

run(module.p, 1024), run(dense, 1024)
first = run(module.p, 16384)
sparse = min(first[0], *(run(module.p, 16384)[0] for _ in range(2)))
slow = min(run(dense, 16384)[0] for _ in range(2))
print(json.dumps({"sparse": sparse, "dense": slow, "memory": first[1]}))
"""


@pytest.mark.full
@pytest.mark.parametrize(("text", "least"), [("past(512)", 4), ("causal & stride(64)", 8)])
def test_against_causal_attention(text, least, tmp_path):
    """n = 16,384, 4 heads of size 64, float32, forward and backward: 16 and 63 times fewer pairs.

    The bounds are well below what was measured, since machines differ in how fast dense attention is.
    """
    from support.generated import pattern_of

    (tmp_path / "generated_for_speed.py").write_text(emit(build(pattern_of(f"pattern p = {text}"))))
    (tmp_path / "measure.py").write_text(MEASURE)
    run = subprocess.run([sys.executable, tmp_path / "measure.py"], capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    ratio = found["dense"] / found["sparse"]
    print(f"{found['sparse']:.2f} s, {ratio:.1f} times faster than dense, {found['memory'] / 2**20:.0f} MiB more")
    assert ratio >= least
    assert found["memory"] < 1e9
