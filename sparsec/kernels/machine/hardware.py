"""What a device can do, and what its name is."""

from __future__ import annotations

import functools

import torch

from sparsec.kernels.machine.settings import LARGE


@functools.cache
def device_tier(device: torch.device, width: int) -> str:
    """Loads by the tensor memory accelerator (H100 and later); otherwise, how much shared memory there is.

    `width`: bytes of an element.
    """
    if device.type != "cuda":
        return "small"
    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip is None and properties.major >= 9 and properties.major != 12 and width == 2:
        return "tma"
    return "large" if properties.shared_memory_per_block_optin >= LARGE else "small"


@functools.cache
def capability(device: torch.device) -> tuple[int, int]:
    """The compute capability of an NVIDIA GPU; (0, 0) for anything else."""
    if device.type != "cuda" or torch.version.hip is not None:
        return 0, 0
    return torch.cuda.get_device_capability(device)


@functools.cache
def driver_version() -> int:
    """The version of CUDA that the driver knows, as CUDA numbers them: 12040 is 12.4.  0: not known."""
    return torch._C._cuda_getDriverVersion() if hasattr(torch._C, "_cuda_getDriverVersion") else 0


@functools.cache
def processors(device: torch.device) -> int:
    """How many multiprocessors a GPU has; 1 for anything else."""
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


@functools.cache
def gpu_name(device: torch.device) -> str:
    """What the GPU is called."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


def dot_precision(dtype: torch.dtype) -> str:
    """Products of float32 follow torch's own switch; 16-bit types have one precision."""
    if dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest":
        return "tf32"
    return "ieee"
