"""How much of dense attention's weight each candidate keeps in each layer and head, and how many pairs it takes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparsec.analysis.count import count
from sparsec.analysis.facts import is_causal
from sparsec.cache.journal import Lines
from sparsec.fit.captured import Captured
from sparsec.fit.text import Candidate
from sparsec.ir.inputs import refuse_inputs, refuse_score_inputs
from sparsec.ir.nodes import Pattern
from sparsec.ir.serialize import pack
from sparsec.runtime.attend import Attend
from sparsec.runtime.weights import dense, share

Opened = Callable[[Candidate, int], Attend]  # the operator of a candidate in a layer, for the heads of the file


@dataclass(frozen=True, eq=False)
class Measured:
    """By layer, head and candidate: the share of dense attention's weight, and kept pairs; all pairs of a head."""

    kept: np.ndarray  # float64 [layers, heads, candidates], mean over rows and batch
    pairs: np.ndarray  # int64, alike
    dense_pairs: int
    causal: bool  # what is compared with sees no later keys


class Journal(Lines):
    """What was measured so far, by a digest of tensors and pattern."""

    def __init__(self, path: Path) -> None:
        self.known: dict[str, list[float]] = {}
        super().__init__(path, "sparsec fit")

    def take(self, entry: Any) -> None:
        self.known[str(entry["of"])] = list(map(float, entry["kept"]))

    def end(self, digest: str, kept: list[float]) -> None:
        self.known[digest] = kept
        self.add({"of": digest, "kept": kept})


def measured(
    file: Captured,
    options: Sequence[Candidate],
    opened: Opened,
    journal: Journal,
    device: torch.device,
    advance: Callable[[int, Candidate], None],
) -> Measured:
    """Every candidate in every layer; `advance` is told of each.

    Dense attention sees keys up to the query where all candidates do, in all heads.  SparsecError for a pattern whose
    pairs data of a call decides.
    """
    attends = {(layer, option): opened(option, layer) for layer in file.layers for option in options}
    patterns = {place: attend.pattern.nodes for place, attend in attends.items()}
    for pattern in patterns.values():
        refuse_inputs(pattern, "a fit")
        refuse_score_inputs(pattern, "a fit")
    causal = all(is_causal(each) for pattern in set(patterns.values()) for each in pattern.conditions)
    shape = file.shape
    queries = range(shape.n - shape.n_q, shape.n)
    kept = np.zeros((len(file.layers), shape.heads, len(options)))
    pairs = np.zeros(kept.shape, np.int64)
    for row, layer in enumerate(file.layers):
        q, k, scale, digest = file.read(layer, device)
        for column, option in enumerate(options):
            pattern = patterns[layer, option]
            key = hashlib.sha256(repr((digest, causal, device.type, pack(pattern))).encode()).hexdigest()
            if len(journal.known.get(key, ())) != shape.heads:
                own = attends[layer, option](q, k, k, scale=scale, return_lse=True)[1]
                whole = dense(pattern, causal)(q, k, k, scale=scale, return_lse=True)[1]
                journal.end(key, share(own, whole).double().mean((0, 2)).tolist())
            kept[row, :, column] = journal.known[key]
            pairs[row, :, column] = _pairs(pattern, shape.heads, shape.n, queries)
            advance(layer, option)
    dense_pairs = sum(position + 1 for position in queries) if causal else shape.n_q * shape.n
    return Measured(kept, pairs, dense_pairs, causal)


def _pairs(pattern: Pattern, heads: int, n: int, queries: range) -> list[int]:
    """Kept pairs of each head."""
    counts: Mapping[int, int] = {
        index: count(pattern.conditions[index], n, queries) for index in set(pattern.head_conditions or (0,))
    }
    return [counts[index] for index in pattern.head_conditions or (0,) * heads]
