"""Where the keys of a cache are: in rows of a tensor, or in pages that a table names for each sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from sparsec.kernels.launches.launch import Meta

PagesOfCall: TypeAlias = "Tensor | tuple[Tensor, Tensor] | None"


@dataclass(frozen=True)
class Pages:
    """The table of pages of a call: none (k and v [B, H_kv, N, D]), [B, most], or (indptr, indices)."""

    table: Tensor | None  # page numbers: [B, most], or of all sequences one after the other
    starts: Tensor | None = None  # int32 [B + 1]: where those of each sequence begin
    size: int | None = None  # keys of a page

    @classmethod
    def of(cls, pages: PagesOfCall, k: Tensor) -> Pages:
        """What a call gives for a cache k."""
        table, starts = (pages[1], pages[0]) if isinstance(pages, tuple) else (pages, None)
        return cls(table, starts, None if table is None else k.shape[1])

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What kernels read, by name."""
        found = {"PAGES": self.table, "STARTS": self.starts}
        return {name: x for name, x in found.items() if x is not None}

    def capacity(self, k: Tensor | Meta) -> int:
        """The most keys that a sequence can have."""
        return k.shape[2] if self.table is None or self.size is None else self.table.shape[-1] * self.size

    def kv_heads(self, k: Tensor | Meta) -> int:
        return k.shape[1] if self.table is None else k.shape[2]

    def strides(self, x: Meta) -> tuple[int, int, int]:
        """From row of the batch (or page) to row, from head to head, and from key to key."""
        first, second, third = x.strides[:3]
        return (first, second, third) if self.table is None else (first, third, second)

    def keys_of(self, x: Tensor, row: int, n: int) -> Any:
        """The first n keys (or values) of one sequence on a CPU, as a tensor [1, H_kv, n, D] or what acts like it."""
        if self.table is None or self.size is None:
            return x[row : row + 1, :, :n]
        count = -(-n // self.size)
        if self.starts is None:
            return PagedKeys(x, self.table[row, :count], n)
        first = int(self.starts[row])
        return PagedKeys(x, self.table[first : first + count], n)


class PagedKeys:
    """Keys of one sequence in pages, which are read where they are asked for: [1, H_kv, n, D]."""

    def __init__(self, cache: Tensor, pages: Tensor, n: int, heads: Any = slice(None)) -> None:
        """cache [P, page, H_kv, D]; `pages`: the numbers of those of the sequence; `heads`: which it is about."""
        self.cache, self.pages, self.heads = cache, pages, heads
        count = len(range(cache.shape[2])[heads]) if isinstance(heads, slice) else len(heads)
        self.shape = (1, count, n, cache.shape[3])

    def numel(self) -> int:
        return self.shape[1] * self.shape[2] * self.shape[3]

    def __getitem__(self, index: tuple) -> Any:
        """x[rows, heads], again without reading; x[:, :, keys] with a slice of positions, as a tensor."""
        if len(index) == 2:
            assert self.heads == slice(None)
            return PagedKeys(self.cache, self.pages, self.shape[2], index[1])
        keys = index[2]
        first, stop, step = keys.indices(self.shape[2])
        if step > 1:
            return self.index_select(2, torch.arange(first, stop, step))
        size = self.cache.shape[1]
        begin = first // size
        found = self._pages(self.pages[begin : -(-stop // size)])
        found = self.cache[found][:, :, self.heads].flatten(0, 1)[first - begin * size : stop - begin * size]
        return found.transpose(0, 1)[None]

    def index_select(self, dim: int, keys: Tensor) -> Tensor:
        """Keys at some positions."""
        assert dim == 2
        size = self.cache.shape[1]
        found = self.cache[self._pages(self.pages[keys // size]), keys % size]
        return found[:, self.heads].transpose(0, 1)[None]

    def _pages(self, pages: Tensor) -> Tensor:
        """Numbers of pages, if there are such.  ValueError."""
        if len(pages) and not 0 <= int(pages.min()) <= int(pages.max()) < len(self.cache):
            wrong = next(int(page) for page in pages if not 0 <= page < len(self.cache))
            raise ValueError(f"[SP0612] pages: a sequence names page {wrong}, and there are {len(self.cache)}")
        return pages


def taken(x: Any, keys: Sequence[slice | Tensor]) -> Tensor:
    """Keys at slices of positions, or at some positions: [B, H_kv, keys, D]."""
    if len(keys) == 1 and isinstance(keys[0], slice):
        return x[:, :, keys[0]]
    return torch.cat([x.index_select(2, some) if isinstance(some, Tensor) else x[:, :, some] for some in keys], 2)
