"""The one exchange of keys and values before a pass, and of their gradients behind it: rows, sorted by rank.

A row is a key head's key and value at a position, side by side: [D + D_v].  Which rows go where is worked out once per
lengths, on the host; a step of training takes index lists that are on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from sparsec.analysis.sharding import Shards
from sparsec.distributed.forms import Run

Index = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Rows:
    """Index lists of a rank, int64 on its device; own rows are indices of K's first three dimensions."""

    sent: Index  # own rows, by the rank that gets them
    send_counts: list[int]  # for each rank
    receive_counts: list[int]
    placed: tuple[Tensor | None, ...]  # of each received run, [B * H_kv * length]: received rows, or the row of zeros
    returned: Tensor  # for each received row its row in the gradients of all received runs, one after the other
    touched: Index  # own rows that some rank gets, each once
    shares: tuple[Tensor, ...]  # for each rank: which of `touched` the rows are that it gets

    @property
    def received(self) -> int:
        return sum(self.receive_counts)


def rows_of(
    shards: Shards,
    rank: int,
    runs: Sequence[Run],
    groups: Sequence[tuple[int, ...]],
    batch: int,
    device: torch.device,
) -> Rows:
    """The lists of a rank; `groups`: the conditions of each key head."""
    ranks, heads, size = range(shards.ranks), len(groups), shards.size(rank)

    def lists(receiver: int, source: int) -> list[np.ndarray]:
        return [shards.fetched(receiver, source, conditions) for conditions in groups]

    send = [lists(other, rank) for other in ranks]
    sent = [_flat([shards.local(rank, some) for some in each], batch, size) for each in send]
    get = [lists(rank, other) for other in ranks]
    counts = [batch * sum(map(len, each)) for each in get]
    row = _rows_of_positions(get, heads, shards.length, batch)
    placed: list[np.ndarray | None] = []
    returned, before = np.zeros(sum(counts), np.int64), 0
    for run in runs:
        if not run.received:
            placed.append(None)
            continue
        begin = run.document[0]
        own = row[:, :, begin + run.first : begin + run.stop].reshape(-1)
        there = np.flatnonzero(own >= 0)
        returned[own[there]] = before + there
        before += len(own)
        placed.append(np.where(own >= 0, own, sum(counts)))
    touched, shares = np.unique(np.concatenate(sent), return_inverse=True)
    edges = np.cumsum([len(each) for each in sent])[:-1]

    def on_device(x: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(x)).to(device)

    def index(rows: np.ndarray) -> Index:
        row, head, place = map(on_device, np.unravel_index(rows, (batch, heads, max(1, size))))
        return row, head, place

    return Rows(
        sent=index(np.concatenate(sent)),
        send_counts=[len(each) for each in sent],
        receive_counts=counts,
        placed=tuple(None if each is None else on_device(each) for each in placed),
        returned=on_device(returned),
        touched=index(touched),
        shares=tuple(on_device(each) for each in np.split(shares, edges)),
    )


def _flat(places: list[np.ndarray], batch: int, size: int) -> np.ndarray:
    """Rows of [batch, heads, size], batch by batch and head by head; `places`: those of each head."""
    heads = len(places)
    first = [place + head * size for head, place in enumerate(places)]
    one = np.concatenate(first) if first else np.zeros(0, np.int64)
    return (np.arange(batch)[:, None] * heads * size + one).reshape(-1)


def _rows_of_positions(get: list[list[np.ndarray]], heads: int, length: int, batch: int) -> np.ndarray:
    """int64 [batch, heads, length]: the received row of a position, -1 where none is received."""
    found, before = np.full((batch, heads, length), -1, np.int64), 0
    for lists in get:
        for row in range(batch):
            for head, positions in enumerate(lists):
                found[row, head, positions] = before + np.arange(len(positions))
                before += len(positions)
    return found


# ---------------------------------------------------------------- on the wire


@dataclass(frozen=True)
class Underway:
    """Rows that are being received."""

    buffer: Tensor
    work: dist.Work | None
    sent: Tensor  # kept until they have arrived

    def wait(self) -> Tensor:
        """The rows; on a GPU, the stream waits for them, and the host does not."""
        if self.work is not None:
            self.work.wait()
        return self.buffer


def start_keys(rows: Rows, k: Tensor, v: Tensor, group: dist.ProcessGroup | None) -> Underway:
    """Send rows of k and v [B, H_kv, n, D]; what arrives is [received + 1, D + D_v], the last row zeros.

    `group` is None where no rank sends anything.
    """
    sent = torch.cat([k[rows.sent], v[rows.sent]], 1)
    buffer = k.new_empty(rows.received + 1, sent.shape[1])
    buffer[rows.received :].zero_()
    return _start(buffer, sent, rows.receive_counts, rows.send_counts, group)


def start_gradients(
    rows: Rows, dk: Sequence[Tensor], dv: Sequence[Tensor], k: Tensor, v: Tensor, group: dist.ProcessGroup | None
) -> Underway:
    """Send gradients of received runs, [B, H_kv, length, ..] each, back to where the keys are; [sent, D + D_v]
    arrives."""
    all_runs = (torch.cat([x.new_empty(0, x.shape[3]), *map(_as_rows, some)]) for x, some in ((k, dk), (v, dv)))
    sent = torch.cat([each.index_select(0, rows.returned) for each in all_runs], 1)
    buffer = k.new_empty(sum(rows.send_counts), sent.shape[1])
    return _start(buffer, sent, rows.send_counts, rows.receive_counts, group)


def _start(
    buffer: Tensor, sent: Tensor, receive: list[int], send: list[int], group: dist.ProcessGroup | None
) -> Underway:
    if group is None:
        return Underway(buffer, None, sent)
    work = dist.all_to_all_single(buffer[: sum(receive)], sent, receive, send, group=group, async_op=True)
    return Underway(buffer, work, sent)


def placed_keys(rows: Tensor, place: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """K and V [B, H_kv, length, ..] of a received run, zeros where no key was sent; k and v are this rank's own."""
    of_k, of_v = rows.split([k.shape[3], v.shape[3]], 1)
    found = (some.index_select(0, place).view(*x.shape[:2], -1, x.shape[3]) for some, x in ((of_k, k), (of_v, v)))
    return tuple(found)


def add_gradients(rows: Rows, x: Tensor, back: Tensor) -> None:
    """Add what came back, [sent, D], to dk or dv [B, H_kv, n, D], rank by rank in float32 or better."""
    exact = torch.promote_types(x.dtype, torch.float32)
    total = x[rows.touched].to(exact)
    for share, some in zip(rows.shares, back.split(rows.send_counts), strict=True):
        total.index_add_(0, share, some.to(exact))  # no row twice in a share: one order, whatever runs first
    x[rows.touched] = total.to(x.dtype)


def _as_rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[3])
