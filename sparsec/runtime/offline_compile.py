"""Device code of a generated module for a GPU that is not there, and what the compiler says about it.

The module's own launching code runs on CPU tensors with a driver that compiles for the wanted target and launches
nothing, so every kernel is specialised and tuned as it would be in a call.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType, SimpleNamespace
from unittest.mock import patch

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase

from sparsec.kernels.decode import gpu as decode_gpu
from sparsec.kernels.decode.gpu import environment_of, prepared_step
from sparsec.kernels.decode.kernel import decode_kernel
from sparsec.kernels.decode.pages import Pages
from sparsec.kernels.decode.parts import merge_parts_kernel
from sparsec.kernels.groups.joins import grouped_stats, join_softmaxes, join_sums
from sparsec.kernels.groups.kernels import grouped_dkdv, grouped_dq, grouped_forward
from sparsec.kernels.groups.lists import count_clusters, list_members
from sparsec.kernels.hopper import launch_backward as hopper_backward
from sparsec.kernels.hopper import launch_forward as hopper_rows
from sparsec.kernels.hopper import rules as hopper_rules
from sparsec.kernels.hopper import tier as hopper_tier
from sparsec.kernels.hopper.backward.kernel import hopper_backward_kernel
from sparsec.kernels.hopper.backward.row_stats import hopper_join_sums, hopper_row_stats
from sparsec.kernels.hopper.backward.step_list import hopper_list_steps, hopper_sequence_stats
from sparsec.kernels.hopper.forward.block_kernel import hopper_block_kernel
from sparsec.kernels.hopper.forward.kernel import hopper_forward_kernel
from sparsec.kernels.launches import prepare
from sparsec.kernels.launches.gather import gather_kernel
from sparsec.kernels.lists.judging import begin_lists, list_tiles, list_tiles_of_sequences
from sparsec.kernels.lists.long_lines import share_lines
from sparsec.kernels.lists.table_tiles import list_named_tiles
from sparsec.kernels.machine import hardware
from sparsec.kernels.operator.packed import backward_packed, forward_packed, input_gradients_packed
from sparsec.kernels.passes.backward import backward_gpu
from sparsec.kernels.passes.chosen_keys_kernel import chosen_keys_dq, chosen_keys_forward, order_keys
from sparsec.kernels.passes.dkdv_kernel import dkdv_kernel
from sparsec.kernels.passes.dq_kernel import dq_kernel
from sparsec.kernels.passes.forward import forward_gpu
from sparsec.kernels.passes.forward_kernel import forward_kernel
from sparsec.kernels.passes.read_gradients import input_gradients_gpu
from sparsec.kernels.passes.read_kernel import read_gradient_kernel
from sparsec.kernels.program.arguments import Call, Dropout, Upstream
from sparsec.kernels.program.inputs import Input
from sparsec.kernels.sequences.sequences import of_documents
from sparsec.kernels.tiles.chosen import mark_chosen
from sparsec.kernels.tiles.splits import combine_splits, reduce_splits
from sparsec.runtime.compiler_report import CompiledKernel, report_of

_ENTRIES = 16  # of a list that a call gives
_PROCESSORS = 132  # of the GPU that is not there: programs are as many, which compiles nothing else


@dataclass(frozen=True, slots=True)
class Target:
    """A GPU as triton names it, and the bytes of shared memory that one program may use there."""

    gpu: GPUTarget
    shared: int

    @property
    def capability(self) -> tuple[int, int]:
        """That of an NVIDIA GPU."""
        return divmod(self.gpu.arch, 10) if self.gpu.backend == "cuda" else (0, 0)

    @property
    def properties(self) -> SimpleNamespace:
        """What a generated module asks torch about a device, to choose its settings."""
        major = self.gpu.arch // 10 if self.gpu.backend == "cuda" else 9
        return SimpleNamespace(major=major, shared_memory_per_block_optin=self.shared)


TARGETS = {
    "sm_80": Target(GPUTarget("cuda", 80, 32), 163 * 1024),  # A100
    "sm_90": Target(GPUTarget("cuda", 90, 32), 227 * 1024),  # H100, H200
    "sm_100": Target(GPUTarget("cuda", 100, 32), 227 * 1024),  # B200
    "gfx942": Target(GPUTarget("hip", "gfx942", 64), 64 * 1024),  # MI300
}


def compile_kernels(
    module: ModuleType,
    target: str,
    *,
    head_size: int = 64,
    v_head_size: int | None = None,
    dtype: str = "float16",
    group: int = 1,
    n: int = 8192,
    packed: bool = False,
    tier: str = "",
    dropout_p: float = 0.0,
    deterministic: bool = True,
) -> list[CompiledKernel]:
    """Every kernel of a generated module as a call would compile it on `target`, a key of TARGETS.

    `v_head_size`: of v, by default that of q and k.  `group`: how many query heads share a key head.  One kernel serves
    many lengths n, but short and long sequences may get different ones.  `packed`: of a call about several documents.
    `tier`: as SPARSEC_TIER.  `dropout_p`, `deterministic`: as of a call.  Not while other threads launch kernels:
    triton has one driver for the process.
    """
    wanted = TARGETS[target]
    program = replace(module._PROGRAM, compiled={}, passes={})
    q = torch.empty(1, program.heads or group, n, head_size, dtype=getattr(torch, dtype))
    g = q[..., :1].expand(*q.shape[:3], v_head_size or head_size).contiguous()
    k, v = q[:, ::group].contiguous(), g[:, ::group].contiguous()
    forced = patch.dict(os.environ, {hopper_rules.TIER: tier} if tier else {})
    with _driver(wanted) as device, _properties(wanted), forced, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TRITON_DEFAULT_FP_FUSION")  # Triton's own news; nothing to do here
        data = [_some_data(own, n) for own in program.inputs]
        table = of_documents(torch.tensor([0, n]), n) if packed else None
        streams = torch.zeros(1 if table is None else len(table), 2, dtype=torch.int64)
        dropout = Dropout(dropout_p, streams) if dropout_p else None
        call = Call(q, k, v, 1.0, n if packed else 0, 0, data, None, table, dropout, deterministic)
        if packed:
            out, lse = forward_packed(program, call)
            backward_packed(program, call, Upstream(g, out, lse))
            input_gradients_packed(program, call, Upstream(g, out, lse))
        else:
            out, lse = forward_gpu(program, call)
            backward_gpu(program, call, Upstream(g, out, lse))
            input_gradients_gpu(program, call, Upstream(g, out, lse))
        kernels: tuple = (forward_kernel, hopper_forward_kernel, dq_kernel, dkdv_kernel, reduce_splits, combine_splits)
        kernels += (hopper_row_stats, hopper_backward_kernel, hopper_join_sums, read_gradient_kernel)
        kernels += (hopper_sequence_stats, hopper_list_steps, hopper_block_kernel)
        kernels += (grouped_forward, grouped_dq, grouped_dkdv, grouped_stats, join_softmaxes, join_sums)
        kernels += (order_keys, chosen_keys_forward, chosen_keys_dq)
        kernels += (count_clusters, list_members, begin_lists)
        kernels += (gather_kernel, list_tiles, list_tiles_of_sequences, list_named_tiles, share_lines, mark_chosen)
        built = [kernel for each in kernels for kernel in each.device_caches.pop(device, [{}])[0].values()]
    return [report_of(kernel, wanted.gpu) for kernel in built]


def compile_steps(
    module: ModuleType,
    target: str,
    *,
    head_size: int = 128,
    v_head_size: int | None = None,
    dtype: str = "bfloat16",
    heads: int = 4,
    kv_heads: int = 1,
    rows: int = 1,
    n: int = 8192,
    page: int | None = 16,
) -> list[CompiledKernel]:
    """The kernels of a step of decoding, of a module that `sparsec.pipeline.steps` printed, as `compile_kernels`.

    `rows` of each sequence, a cache with room for n keys, in pages of `page` keys or without.
    """
    wanted, steps = TARGETS[target], replace(module._STEPS, compiled={}, passes={})
    q = torch.empty(1, rows, heads, head_size, dtype=getattr(torch, dtype))
    shape = (1, kv_heads, n) if page is None else (n // page, page, kv_heads)
    k, v = (torch.empty(*shape, size, dtype=q.dtype) for size in (head_size, v_head_size or head_size))
    out = q.new_empty(1, rows, heads, v.shape[3])
    table = None if page is None else torch.zeros(1, n // page, dtype=torch.int32)
    lengths, pages = torch.zeros(1, dtype=torch.int32), Pages(table, None, page)
    with _driver(wanted) as device, _properties(wanted), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TRITON_DEFAULT_FP_FUSION")
        step = prepared_step(steps, q, k, v, lengths, pages, None, out, return_lse=True)
        step.run(environment_of(q, k, v, lengths, pages, None, 1.0) | {"OUT": out})
        kernels = decode_kernel, merge_parts_kernel
        built = [kernel for each in kernels for kernel in each.device_caches.pop(device, [{}])[0].values()]
    return [report_of(kernel, wanted.gpu) for kernel in built]


def _some_data(own: Input, n: int) -> torch.Tensor:
    """A checked input of a call about n keys and as many queries."""
    if own.kind == "labels":
        return torch.zeros(1, 1, getattr(own.choice, "rounds", 1), 2 * n, dtype=torch.int32)
    if own.is_chosen:
        count = int(own.axes[-1]) if own.axes[-1].isdigit() else _ENTRIES
        return torch.zeros(1, 1, -(-n // own.sizes[0]), count, dtype=torch.int32)
    entries = n if own.axes[-1:] == ("n",) else _ENTRIES if own.has_entries else 1
    entries = n * n if own.of_pairs else entries
    dtype = {"bool": torch.bool, "float": torch.float32}.get(own.kind, torch.int32)
    return torch.zeros(1, 1, entries, dtype=dtype)


@contextmanager
def _properties(target: Target) -> Iterator[None]:
    """The CPU is taken for the target when settings are chosen."""
    choose, device = hardware.device_tier.__wrapped__, torch.device("cuda", 0)
    with (
        patch.object(prepare, "device_tier", lambda _, width: choose(device, width)),
        patch.object(decode_gpu, "device_tier", lambda _, width: choose(device, width)),
        patch.object(decode_gpu, "processors", lambda _: _PROCESSORS),
        patch.object(hopper_tier, "capability", lambda _: target.capability),
        patch.object(hopper_tier, "processors", lambda _: 1),  # a call has heads for all of them
        patch.object(hopper_rows, "processors", lambda _: _PROCESSORS),
        patch.object(hopper_backward, "processors", lambda _: _PROCESSORS),
        patch.object(torch.cuda, "get_device_properties", lambda _: target.properties),
        patch.object(torch.version, "hip", None if target.gpu.backend == "cuda" else "6"),
    ):
        yield


@contextmanager
def _driver(target: Target) -> Iterator[object]:
    """Triton compiles for the target and launches nothing; yields the key of what it keeps for this device."""
    before = triton.runtime.driver.active if torch.cuda.is_available() else None  # None: found again when needed
    driver = _Driver(target)
    triton.runtime.driver.set_active(driver)
    try:
        yield driver.device
    finally:
        triton.runtime.driver.set_active(before)


class _Driver(DriverBase):
    """What triton asks of a driver between a launch and the device."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.device = object()  # a device of its own, so that nothing compiled before or after is taken for it
        self.launcher_cls = lambda source, metadata: lambda *arguments: None
        self.utils = SimpleNamespace(
            # A kernel that asks for more shared memory is reported, not refused.
            get_device_properties=lambda device: {"max_shared_mem": 1 << 30},
            load_binary=lambda name, binary, shared, device: (None, None, 0, 0, 1 << 30),
        )

    @classmethod
    def is_active(cls) -> bool:
        return True

    def map_python_to_cpp_type(self, ty: str) -> str:
        return ty

    def get_current_target(self) -> GPUTarget:
        return self.target.gpu

    def get_current_device(self) -> object:
        return self.device

    def get_current_stream(self, device: object = None) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def get_benchmarker(self) -> None:
        raise NotImplementedError
