"""Real text that every machine with Python has: the sources of its standard library, packed in rows of one length."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

START = 256  # stands before each document
VOCABULARY = 257  # bytes, and START
HELD_OUT = 20  # one file in so many is not trained on
_ENTRIES = 16  # `cu_seqlens` have a multiple of so many, so that few rows bring a new shape to compile for
_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3"}


def documents(held_out: bool = False) -> list[bytes]:
    """The files for training, or those held out, folder by folder."""
    paths = []
    for folder, folders, files in os.walk(sysconfig.get_path("stdlib")):
        folders[:] = sorted(set(folders) - _LEFT_OUT)
        paths += [Path(folder, file) for file in sorted(files) if file.endswith(".py")]
    chosen = (path for number, path in enumerate(paths) if (number % HELD_OUT == 0) == held_out)
    return [text for path in chosen if (text := path.read_bytes())]


def packed_rows(texts: list[bytes], length: int, seed: int | None = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of `length` tokens without padding: tokens int64 [1, length], and `cu_seqlens` int32 [entries].

    `cu_seqlens` has the position of the first token of each document, then `length` until it is full.  A document that
    does not fit goes on in the next row as one of its own.  With a seed, without end and in random order; with None
    each text once, in its order.
    """
    row, begins = [], []
    for text in _in_order(texts, seed):
        rest = [START, *text]
        while rest:
            taken = rest[: length - len(row)]
            begins.append(len(row))
            row += taken
            rest = rest[len(taken) :]
            if len(row) == length:
                full = begins + [length] * (_ENTRIES - len(begins) % _ENTRIES)
                yield torch.tensor([row]), torch.tensor(full, dtype=torch.int32)
                row, begins = [], []


def starts(cu_seqlens: Tensor, length: int) -> Tensor:
    """The position of the first token of each token's document, int32 [1, length]."""
    place = torch.arange(length, dtype=cu_seqlens.dtype, device=cu_seqlens.device)
    return cu_seqlens[torch.searchsorted(cu_seqlens, place, right=True) - 1][None]


def _in_order(texts: list[bytes], seed: int | None) -> Iterator[bytes]:
    if seed is None:
        yield from texts
        return
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from (texts[number] for number in torch.randperm(len(texts), generator=generator).tolist())
