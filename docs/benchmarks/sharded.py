"""A sequence over several GPUs against one GPU and against torch's context parallelism.

    torchrun --nproc_per_node 2 docs/benchmarks/sharded.py raw/sharded/h100x2.json ring

Behind the file stand peers of torch's, `ring` and `flex`, and texts of cases, where not all of them are run; `none`
leaves cases without a peer out.  Each case is first compared with one GPU on the whole sequence: results and gradients.
Racers take turns; a time is the slowest rank's, from a barrier on, forward and backward.  The file is written after
each case, which rank 0 names when it begins; a rank that takes longer than LIMIT seconds for one says where it stands,
and ends.
"""

from __future__ import annotations

import faulthandler
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.distributed.device_mesh import init_device_mesh

import sparsec
import sparsec.distributed

N, HEADS, SIZE, DTYPE = 262_144, 16, 128, torch.bfloat16
LIMIT = 120  # seconds of a case
CASES = [  # text, layout, repeats
    ("past(4096)", "contiguous", 9),
    ("causal", "head-tail", 2),
    ("past(4096) | sinks(4)", "contiguous", 9),
]
PEERS = {"past(4096)": "flex", "causal": "ring"}


def main(out: str, *words: str) -> None:
    unknown = {*words} - {text for text, *_ in CASES} - {*PEERS.values(), "none"}
    if unknown:
        raise SystemExit(f"no case and no peer: {unknown}; cases are {[text for text, *_ in CASES]}")
    cases = [each for each in CASES if each[0] in words] or CASES
    dist.init_process_group("nccl", timeout=timedelta(seconds=60))
    rank = dist.get_rank()
    torch.cuda.set_device(rank)
    mesh = init_device_mesh("cuda", (dist.get_world_size(),))
    runs = []
    todo: list[tuple[str, str, int, str | None]] = [] if "none" in words else [(*each, None) for each in cases]
    todo += [(*each, peer) for peer in words for each in cases if PEERS.get(each[0]) == peer]
    for text, layout, repeats, peer in todo:
        if rank == 0:
            print(f"{text}, {peer or 'one GPU'} ...", file=sys.stderr, flush=True)
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        runs.append(case(text, layout, repeats, mesh, peer))
        faulthandler.cancel_dump_traceback_later()
        if rank == 0:
            print(json.dumps(runs[-1]), flush=True)
            report = {
                "command": ["torchrun", f"--nproc_per_node={dist.get_world_size()}", "sharded.py", *sys.argv[1:]],
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "device": torch.cuda.get_device_name(),
                "ranks": dist.get_world_size(),
                "versions": {"torch": torch.__version__, "nccl": ".".join(map(str, torch.cuda.nccl.version()))},
                "setting": {"n": N, "batch": 1, "heads": HEADS, "head_size": SIZE, "dtype": str(DTYPE)},
                "sharded": runs,  # those with a peer of torch's last
            }
            Path(out).write_text(json.dumps(report, indent=1) + "\n")
    dist.destroy_process_group()


def case(text: str, layout: str, repeats: int, mesh, peer: str | None) -> dict:
    attend = sparsec.compile(f"pattern p = {text}")
    sharded = sparsec.distributed.shard(attend, mesh, layout)
    generator = torch.Generator("cuda").manual_seed(0)
    whole = [torch.randn(1, HEADS, N, SIZE, device="cuda", dtype=DTYPE, generator=generator) for _ in range(4)]
    local = [sharded.local(x).contiguous() for x in whole]
    start = time.perf_counter()
    data = sharded._core.data((0, N), local[0], local[1], None, {}, 0.0, None)
    part = sharded._core.part((0, N), local[0], local[1], data)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start

    def passes(call: Callable, tensors: list) -> tuple[torch.Tensor, ...]:
        q, k, v = (x.detach().requires_grad_() for x in tensors[:3])
        out = call(q, k, v)
        return out.detach(), *torch.autograd.grad(out, (q, k, v), tensors[3])

    def alone() -> None:
        sharded._core.parts[key] = replace(part, sends=False)
        passes(sharded, local)
        sharded._core.parts[key] = part

    [key] = sharded._core.parts
    racers: dict[str, Callable] = {
        "one": lambda: passes(attend, whole),
        "sharded": lambda: passes(sharded, local),
        "sharded, nothing sent": alone,
    }
    errors = differences(passes(sharded, local), passes(attend, whole), sharded) if peer is None else None
    if peer is not None:
        racers = {"sharded": racers["sharded"], peer: ring(mesh, whole) if peer == "ring" else flex(mesh, local)}
    times: dict[str, list[float]] = {name: [] for name in racers}
    for turn in range(repeats + 1):
        for name, racer in racers.items():
            torch.cuda.synchronize()
            dist.barrier()
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            racer()
            end.record()
            torch.cuda.synchronize()
            if turn:
                times[name].append(slowest(begin.elapsed_time(end)))
    traffic = sharded.traffic(N, HEADS)
    medians = {name: statistics.median(some) for name, some in times.items()}
    return {
        "text": text,
        "layout": layout,
        "steps": len(part.steps.steps),
        "set_up_seconds": seconds,
        "bytes_received_forward": (traffic.sum(1) * 2 * SIZE * 2).tolist(),
        "difference_of_largest": errors,
        "ms": times,
        "medians": medians,
        "times_the_speed_of_one": medians["one"] / medians["sharded"] if "one" in medians else None,
    }


def differences(ours: tuple, theirs: tuple, sharded) -> dict[str, float]:
    """The largest difference of results and gradients from one GPU's, as shares of the largest number."""
    found = {}
    for name, x, whole in zip(("out", "dq", "dk", "dv"), ours, theirs, strict=True):
        y = sharded.local(whole).float()
        found[name] = slowest(((x.float() - y).abs().max() / y.abs().max()).item())
    return found


def slowest(value: float) -> float:
    """The largest of all ranks."""
    found = torch.tensor(value, device="cuda", dtype=torch.float64)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return found.item()


def ring(mesh, whole: list) -> Callable:
    """torch's context parallelism of causal scaled_dot_product_attention: a ring, head-tail."""
    from torch.distributed.tensor.experimental import context_parallel
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def attention(q, k, v):
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    buffers = [x.clone() for x in whole]

    def several() -> None:
        q, k, v = (x.detach().requires_grad_() for x in buffers[:3])
        torch.autograd.grad(attention(q, k, v), (q, k, v), buffers[3])

    context = context_parallel(mesh, buffers=buffers, buffer_seq_dims=[2] * 4, no_restore_buffers=set(buffers))
    context.__enter__()  # cuts the buffers, and lasts until the process ends
    return several


def flex(mesh, local: list) -> Callable:
    """torch's context parallelism of FlexAttention: all keys gathered."""
    from torch.distributed.tensor.experimental._context_parallel import _attention
    from torch.distributed.tensor.parallel import parallelize_module
    from torch.nn.attention.flex_attention import flex_attention

    class Flex(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = torch.compile(flex_attention)

        def forward(self, query, key, value, block_mask):
            return self.attention(query, key, value, block_mask=block_mask)

    def past(b, h, q, k):
        return (q >= k) & (q - k < 4096)

    create = getattr(_attention, "_create_cp_block_mask", None) or _attention.create_cp_block_mask
    mask = create(past, 1, 1, N, N, mesh)
    plan = _attention._ContextParallel(seq_dim=2, attention_type=_attention._ContextParallel.AttentionType.FLEX)
    module = parallelize_module(Flex(), mesh, plan)

    def several() -> None:
        q, k, v = (x.detach().requires_grad_() for x in local[:3])
        torch.autograd.grad(module(q, k, v, block_mask=mask), (q, k, v), local[3])

    return several


if __name__ == "__main__":
    main(*sys.argv[1:])
