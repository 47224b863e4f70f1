"""Functions in several processes that torch.distributed joins, none of which hangs without a word."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

_Item = TypeVar("_Item")


def everywhere(
    ranks: int,
    folder: Path,
    function: Callable[..., Any],
    *arguments: Any,
    backend: str = "gloo",
    answers: int | None = None,
    seconds: float = 60,
) -> list:
    """What a function returns on each rank of as many processes, called with a mesh; of the first `answers` ranks.

    `seconds`: how long a rank waits for another before that is an error of torch.distributed.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload(["torch", "sparsec.distributed"])  # once for all
    given = ranks, folder, backend, seconds, time.time(), function, arguments
    mp.start_processes(_rank, given, ranks, start_method="forkserver" if backend == "gloo" else "spawn")
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(answers or ranks)]


def _rank(
    rank: int,
    ranks: int,
    folder: Path,
    backend: str,
    seconds: float,
    started: float,
    function: Callable[..., Any],
    arguments: tuple,
) -> None:
    torch.set_num_threads(1)
    device = "cuda" if backend == "nccl" else "cpu"
    if device == "cuda":
        os.environ["NCCL_NVLS_ENABLE"] = "0"
        torch.cuda.set_device(rank)
        say(f"rank {rank} of {ranks} has begun, after {time.time() - started:.1f} s")
    store = dist.FileStore(str(folder / "store"), ranks)
    dist.init_process_group(backend, store=store, rank=rank, world_size=ranks, timeout=timedelta(seconds=seconds))
    found = function(init_device_mesh(device, (ranks,)), *arguments)
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(found))
    dist.destroy_process_group()


def in_time(mesh: DeviceMesh, items: Sequence[_Item], seconds: float, name: Callable[[_Item], str]) -> Iterator[_Item]:
    """The items, one after the other: rank 0 says how long each took, and a rank that takes longer than `seconds` for
    one says where it stands, and ends.
    """
    for number, item in enumerate(items, start=1):
        begin = time.perf_counter()
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
        yield item
        faulthandler.cancel_dump_traceback_later()
        if mesh.get_local_rank() == 0:
            say(f"{number} of {len(items)}, {time.perf_counter() - begin:.1f} s: {name(item)}")


def say(line: str) -> None:
    """A line at once: whoever is killed later has said how far it came."""
    print(line, file=sys.__stderr__, flush=True)
