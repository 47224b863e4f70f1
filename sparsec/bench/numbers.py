"""Numbers beside the times of a benchmark: kept pairs, operations, floors.

Work is counted over kept pairs: 4 * D operations a pair and head forward, 10 * D backward.  The floor of a pass is
the larger of its operations over the rate of the matrix units and its bytes over the bandwidth of the memory, each
input read once and each output written once, with ceilings measured by large products and copies.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch

from sparsec.analysis.count import pattern_count
from sparsec.analysis.numbers import Uncounted
from sparsec.bench.race import Racer, spread
from sparsec.bench.setting import Setting, sizes
from sparsec.pipeline import Compiled
from sparsec.plan.cost_model import cost
from sparsec.plan.cpu_cost import cpu_cost
from sparsec.plan.nodes import Variant
from sparsec.testing.verify import device_name

PASSES = {"forward": 4, "backward": 10}  # operations a pair and head, in units of D
_CEILINGS = {("H200", "fp16"): (790e12, 4.3e12), ("H200", "bf16"): (790e12, 4.3e12)}  # a second: operations, bytes


def pairs(made: Compiled, setting: Setting) -> int | None:
    """Kept pairs of all heads and batches; None where they can't be counted in reasonable time."""
    try:
        count = sum(pattern_count(made.pattern, n) for n in setting.lengths)
    except Uncounted:
        return None
    return setting.batch * count * (1 if made.pattern.heads else setting.heads)


def predicted(made: Compiled, setting: Setting, device: torch.device) -> float:
    """Forward and backward of all heads and batches, in units of the device's cost model: tiles of 64 x 64."""
    total = 0.0
    for group in made.plan.groups:
        times = (cost_on(device)(group.at(n), n) for n in setting.lengths)
        total += (len(group.heads) or setting.heads) * sum(times)
    return setting.batch * total


def cost_on(device: torch.device) -> Callable[[Variant, int], float]:
    """The cost model of a device."""
    return cpu_cost if device.type == "cpu" else cost


def times(racer: Racer, device: torch.device) -> dict[str, object]:
    """The device's times and, for a GPU, what Python needs to queue a warm call, in microseconds."""
    found: dict[str, object] = {"ms": {kind: spread(times) for kind, times in racer.ms.items()}}
    if device.type == "cuda":
        found["host_us"] = {kind: 1000 * statistics.median(times) for kind, times in racer.host_ms.items()}
    return found


def shares(racer: Racer, pairs: int | None, setting: Setting, device: torch.device) -> dict[str, dict]:
    """TFLOP/s over kept pairs, the floor in ms with what sets it, and the floor as a share of the median."""
    found: dict[str, dict] = {"tflops": {}, "floor_ms": {}, "floor_by": {}, "floor_share": {}}
    rates = ceilings(setting, device)
    for kind, times in racer.ms.items():
        ms = spread(times)["median"]
        flops = None if pairs is None else PASSES[kind] * setting.head_size * pairs
        if flops is not None:
            found["tflops"][kind] = flops / ms / 1e9
        if flops is not None and rates:
            by = {"arithmetic": flops / rates[0], "bytes": _bytes(kind, setting) / rates[1]}
            found["floor_by"][kind] = max(by, key=lambda limit: by[limit])
            found["floor_ms"][kind] = 1000 * max(by.values())
            found["floor_share"][kind] = found["floor_ms"][kind] / ms
    return found


def _bytes(kind: str, setting: Setting) -> int:
    """Forward q, k, v, out and the log-sum-exp; backward these, the gradient of out, and those of q, k and v."""
    query, key = sizes(setting)
    lse = 4 * setting.batch * setting.heads * setting.n
    return lse + (2 * query + 2 * key if kind == "forward" else 4 * query + 4 * key)


def ceilings(setting: Setting, device: torch.device) -> tuple[float, float] | None:
    """Operations and bytes a second that the device reaches; None where nobody measured them."""
    name = device_name(device)
    return next((rates for (gpu, dtype), rates in _CEILINGS.items() if gpu in name and dtype == setting.dtype), None)
