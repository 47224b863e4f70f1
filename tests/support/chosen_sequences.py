"""Calls about several sequences in which keys are chosen: against each of the sequences alone, bit for bit."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

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
    lines = (line for line in DECLARED.splitlines() if f"({line.split()[1].strip(':')}" in condition.replace(", ", "("))
    lines = [*lines, *(line for line in DECLARED.splitlines() if "doc" in line and "doc[" in condition)]
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


def packed_scores(scores: list[Tensor]) -> Tensor:
    """Scores of blocks of documents, one under the other."""
    most = max(x.shape[3] for x in scores)
    return torch.cat([torch.nn.functional.pad(x, (0, most - x.shape[3]), value=99.0) for x in scores], 2)


def assert_documents(
    attend, pattern, ends: list[int], length: int, seed: int, spare: int = 0, device="cpu", dtype=torch.float32
) -> None:
    """Documents packed in one row, with `spare` lists more than they need, against each document alone."""
    q, k, v, g, dlse = random_call(1, length, length, seed, device, dtype)
    alone = drawn(pattern, [(stop - first, stop - first) for first, stop in pairwise(ends)], seed)
    given: dict[str, Tensor] = {}
    for name in alone[0]:
        parts = [own[name] for own in alone]
        if name == "mu":
            given[name] = parts[0]
        elif name == "doc":
            given[name] = torch.nn.functional.pad(torch.cat(parts, 1), (ends[0], length - ends[-1]))
        else:
            lists = packed_scores(parts) if name == "s" else torch.cat(parts, 2)
            given[name] = torch.nn.functional.pad(lists, (0, 0, 0, spare))
    found = results(attend, [q, k, v], g, dlse, documents=torch.tensor(ends, dtype=torch.int32), **given)
    wanted = [torch.zeros_like(x) for x in found]
    wanted[1].fill_(float("-inf"))
    for (first, stop), own in zip(pairwise(ends), alone, strict=True):
        if stop > first:
            at = slice(first, stop)
            some = results(attend, [x[:, :, at] for x in (q, k, v)], g[:, :, at], dlse[:, :, at], **own)
            for x, part in zip(wanted, some, strict=True):
                x[:, :, at] = part
    for x, y in zip(found, wanted, strict=True):
        assert torch.equal(x, y)


def assert_rows(
    attend, pattern, n_q: int, n: int, rows: list[tuple[int, int]], seed: int, device="cpu", dtype=torch.float32
) -> None:
    """Rows of a batch with `lengths` and `q_lengths` of their own, against each row alone."""
    q, k, v, g, dlse = random_call(len(rows), n_q, n, seed, device, dtype)
    alone = drawn(pattern, rows, seed)
    given: dict[str, Tensor] = {}
    for name in alone[0]:
        parts = [own[name] for own in alone]
        if name == "mu":
            given[name] = parts[0]
        elif name == "doc":
            given[name] = torch.cat([torch.nn.functional.pad(x, (0, n - x.shape[1])) for x in parts])
        else:
            (size,) = (each.sizes for each in (*pattern.inputs, *pattern.choice_inputs) if each.name == name)
            wide = -(-n // size[1]) if name == "s" else LISTED
            room = -(-n_q // size[0])
            given[name] = torch.cat(
                [torch.nn.functional.pad(x, (0, wide - x.shape[3], 0, room - x.shape[2]), value=1) for x in parts]
            )
    numbers = (torch.tensor(x, dtype=torch.int32) for x in zip(*rows, strict=True))
    of_rows = dict(zip(("q_lengths", "lengths"), numbers, strict=True))
    found = results(attend, [q, k, v], g, dlse, **of_rows, **given)
    for row, (own_q, own_n) in enumerate(rows):
        queries, keys, at = slice(0, own_q), slice(0, own_n), slice(row, row + 1)
        if own_q and own_n:
            some = [q[at, :, queries], k[at, :, keys], v[at, :, keys]]
            first = max(own_n - own_q, 0)
            wanted = results(attend, some, g[at, :, queries], dlse[at, :, queries], q_offset=first, **alone[row])
            for x, y, own in zip(found, wanted, (queries, queries, queries, keys, keys), strict=True):
                assert torch.equal(x[at, :, own], y)
        assert not found[0][row, :, own_q:].any()
        assert not any(x[row, :, size:].any() for x, size in zip(found[2:], (own_q, own_n, own_n), strict=True))
