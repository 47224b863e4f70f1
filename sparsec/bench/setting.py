"""What `sparsec bench` runs: shapes, dtype and repeats, and tensors of them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from sparsec.bench.race import Tensors

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Setting:
    """Shapes and dtype of every call, how often it runs, and against whom."""

    n: int = 32768
    batch: int = 1
    heads: int = 16
    kv_heads: int = 16
    head_size: int = 128
    dtype: str = "bf16"
    repeats: int = 15
    against: tuple[str, ...] = ("flex", "sdpa")
    documents: tuple[int, ...] = ()  # lengths of those packed in the row; none: it is one sequence

    @property
    def lengths(self) -> tuple[int, ...]:
        """Of the sequences of a row."""
        return self.documents or (self.n,)


CPU = Setting(n=1024, heads=2, kv_heads=2, head_size=32, dtype="fp32", repeats=5, against=("sdpa",))


def defaults(device: torch.device, **given: object) -> Setting:
    """The setting for a device, with what is given and not None; as many key heads as query heads unless given."""
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if "heads" in chosen:
        chosen.setdefault("kv_heads", chosen["heads"])
    return replace(Setting() if device.type == "cuda" else CPU, **chosen)


def drawn_documents(count: int, n: int, seed: int) -> tuple[int, ...]:
    """Lengths of `count` documents, n together: log-uniform, the longest at most 128 times as long as the shortest."""
    draw = random.Random(seed)
    shares = [128 ** draw.random() for _ in range(count)]
    lengths = [max(1, int(n * share / sum(shares))) for share in shares]
    while left := n - sum(lengths):
        lengths[lengths.index(max(lengths))] += left if left > 0 else -1
    return tuple(lengths)


def inputs(setting: Setting, device: torch.device, given: Mapping[str, np.ndarray] = MappingProxyType({})) -> Tensors:
    """Random q, k, v and gradient of out, the same ones every time, where documents end, and the inputs `given`."""
    generator = torch.Generator(device).manual_seed(0)
    shapes = (setting.heads, setting.kv_heads, setting.kv_heads, setting.heads)
    q, k, v, g = (
        torch.randn(
            (setting.batch, heads, setting.n, setting.head_size),
            generator=generator,
            device=device,
            dtype=DTYPES[setting.dtype],
        )
        for heads in shapes
    )
    ends = torch.tensor([0, *accumulate(setting.documents)], dtype=torch.int32, device=device)
    documents = ends if setting.documents else None
    data = {name: torch.from_numpy(np.array(x)).to(device) for name, x in given.items()}
    return Tensors(q.requires_grad_(), k.requires_grad_(), v.requires_grad_(), g, documents, data)


def sizes(setting: Setting) -> tuple[int, int]:
    """Bytes of q and of k."""
    key_head = setting.batch * setting.n * setting.head_size * DTYPES[setting.dtype].itemsize
    return setting.heads * key_head, setting.kv_heads * key_head


def input_bytes(setting: Setting) -> int:
    """Bytes of q, k, v and the gradient of out."""
    query, key = sizes(setting)
    return 2 * query + 2 * key
