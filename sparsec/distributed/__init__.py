"""Attention over a sequence that lies on several GPUs (context parallelism); who sends what follows from the pattern.

import sparsec.distributed

sharded = sparsec.distributed.shard(attend, mesh, layout="head-tail")
out = sharded(sharded.local(q), sharded.local(k), sharded.local(v))
"""

from __future__ import annotations

from sparsec.diagnostics import torch_for

with torch_for("sparsec.distributed"):
    from sparsec.distributed.heads import OverHeads
    from sparsec.distributed.shard import ContextParallel, Sharded, shard

__all__ = ["ContextParallel", "OverHeads", "Sharded", "shard"]
