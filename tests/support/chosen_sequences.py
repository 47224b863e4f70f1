"""Calls about several sequences in which keys are chosen: against each of the sequences alone, bit for bit."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

DECLARED = """\
input mu: centroids[c]
input sel: blocks[4, 8, t]
input one: blocks[1, 8, t]
input some: keys[t]
input s: scores[4, 8]
input doc: int[B, n]
"""
HEADS, KV_HEADS, LISTED = 4, 2, 2


def declared(condition: str) -> str:
    """A text with what a condition reads declared."""
    names = set(re.findall(r"\w+", condition))
    lines = [line for line in DECLARED.splitlines() if line.split()[1].strip(":") in names]
    return f"{' '.join(lines)} pattern p = {condition}"


def drawn(pattern, sizes: list[tuple[int, int]], seed: int) -> list[dict[str, Tensor]]:
    """For each sequence of n_q queries and n keys the inputs of a call that it has alone."""
    random = torch.Generator().manual_seed(seed)
    mu, found = torch.randn(2, 5, 16, generator=random), []
    for n_q, n in sizes:
        own: dict[str, Tensor] = {}
        for each in (*(each for each in pattern.inputs if not each.choice), *pattern.choice_inputs):
            rows, size = each.sizes
            if each.kind == "centroids":
                own[each.name] = mu
            elif each.kind == "scores":
                own[each.name] = torch.randn(1, HEADS, -(-n_q // rows), -(-n // size), generator=random)
            elif each.kind == "int":
                own[each.name] = torch.randint(0, 3, (1, n), generator=random)
            else:
                shape, last = (1, KV_HEADS, -(-n_q // rows), LISTED), -(-n // size)
                own[each.name] = torch.randint(-1, last + 1, shape, generator=random)
        found.append(own)
    return found


def results(attend, tensors: list[Tensor], g: Tensor, dlse: Tensor, **given: Any) -> list[Tensor]:
    """out, the log-sum-exp, and the gradients of q, k and v."""
    tensors = [x.detach().requires_grad_() for x in tensors]
    given = {name: x.to(g.device) if isinstance(x, Tensor) else x for name, x in given.items()}
    out, lse = attend(*tensors, return_lse=True, **given)
    return [out.detach(), lse.detach(), *torch.autograd.grad([out, lse], tensors, [g, dlse])]


def random_call(batch: int, n_q: int, n: int, seed: int, device: str, dtype: torch.dtype) -> list[Tensor]:
    """q, k, v and the gradients of out and of the log-sum-exp."""
    random = torch.Generator().manual_seed(seed)
    shapes = (HEADS, n_q, 16), (KV_HEADS, n, 16), (KV_HEADS, n, 16), (HEADS, n_q, 16), (HEADS, n_q)
    found = [torch.randn(batch, *shape, generator=random).to(device, dtype) for shape in shapes]
    return [*found[:4], found[4].float()]


class Place(NamedTuple):
    """Where a sequence is in a call: its row of the batch, rows of Q and of K, and the position of its first query."""

    row: int
    queries: slice
    keys: slice
    first: int = 0

    @property
    def sizes(self) -> tuple[int, int]:
        return self.queries.stop - self.queries.start, self.keys.stop - self.keys.start


def of_documents(ends: list[int]) -> list[Place]:
    return [Place(0, slice(*span), slice(*span)) for span in pairwise(ends)]


def of_rows(rows: list[tuple[int, int]]) -> list[Place]:
    """Rows of so many queries and keys, the queries last where there are fewer."""
    return [Place(row, slice(0, n_q), slice(0, n), max(n - n_q, 0)) for row, (n_q, n) in enumerate(rows)]


def together(
    pattern, alone: list[dict[str, Tensor]], places: list[Place], batch: int, n_q: int, n: int, spare: int = 0
) -> dict[str, Tensor]:
    """The inputs of a call about sequences that have these alone, with `spare` lists more than any row needs.

    Lists of a row follow one another; what belongs to no sequence is a number that would be seen if it were read.
    """
    found: dict[str, Tensor] = {}
    declared = {each.name: each for each in (*pattern.inputs, *pattern.choice_inputs)}
    for name in alone[0]:
        own = declared[name]
        if own.kind == "centroids":
            found[name] = alone[0][name]
        elif own.kind == "int":
            found[name] = torch.zeros(batch, n, dtype=torch.int64)
            for place, x in zip(places, alone, strict=True):
                found[name][place.row, place.keys] = x[name][0]
        else:
            ends = [0] * batch
            for place, x in zip(places, alone, strict=True):
                ends[place.row] += x[name].shape[2]
            last = max(x[name].shape[3] for x in alone)
            shape = batch, alone[0][name].shape[1], max(ends) + spare, last
            found[name] = torch.full(shape, 99 if own.kind == "scores" else 1, dtype=alone[0][name].dtype)
            ends = [0] * batch
            for place, x in zip(places, alone, strict=True):
                _, _, lists, width = x[name].shape
                found[name][place.row, :, ends[place.row] : ends[place.row] + lists, :width] = x[name][0]
                ends[place.row] += lists
    return found


def assert_sequences(
    attend, pattern, shape: tuple[int, int, int], places: list[Place], seed: int, told: dict[str, Any], *,
    spare: int = 0, device: str = "cpu", dtype: torch.dtype = torch.float32,
) -> None:  # fmt: skip
    """A call of (rows, n_q, n) about sequences, as it is `told`, against a call with each of them alone."""
    q, k, v, g, dlse = random_call(*shape, seed, device, dtype)
    alone = drawn(pattern, [place.sizes for place in places], seed)
    given = together(pattern, alone, places, *shape, spare)
    found = results(attend, [q, k, v], g, dlse, **told, **given)
    wanted = [torch.zeros_like(x) for x in found]
    wanted[1].fill_(float("-inf"))
    for place, own in zip(places, alone, strict=True):
        if all(place.sizes):
            row, queries, keys = slice(place.row, place.row + 1), place.queries, place.keys
            some = [q[row, :, queries], k[row, :, keys], v[row, :, keys]]
            made = results(attend, some, g[row, :, queries], dlse[row, :, queries], q_offset=place.first, **own)
            for x, y, at in zip(wanted, made, (queries, queries, queries, keys, keys), strict=True):
                x[row, :, at] = y
    for x, y in zip(found, wanted, strict=True):
        assert torch.equal(x, y)


def assert_documents(attend, pattern, ends: list[int], length: int, seed: int, **more: Any) -> None:
    """Documents packed in one row."""
    told = {"documents": torch.tensor(ends, dtype=torch.int32)}
    assert_sequences(attend, pattern, (1, length, length), of_documents(ends), seed, told, **more)


def assert_rows(attend, pattern, n_q: int, n: int, rows: list[tuple[int, int]], seed: int, **more: Any) -> None:
    """Rows of a batch with `lengths` and `q_lengths` of their own."""
    numbers = (torch.tensor(x, dtype=torch.int32) for x in zip(*rows, strict=True))
    told = dict(zip(("q_lengths", "lengths"), numbers, strict=True))
    assert_sequences(attend, pattern, (len(rows), n_q, n), of_rows(rows), seed, told, **more)
