"""Peaks of GPUs as their makers state them, and the time below which no kernel can finish by them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sparsec.analysis.cost import Cost


@dataclass(frozen=True, slots=True)
class Gpu:
    """Dense bf16 matrix products in operations a second, without 2:4 sparsity, and memory traffic in bytes a second."""

    title: str
    flops: float
    bandwidth: float
    source: str
    capability: tuple[int, int] = (0, 0)  # of an NVIDIA GPU with kernels of its own
    processors: int = 0  # of that


_HOPPER = (9, 0), 132
GPUS = {
    "a100": Gpu("NVIDIA A100 SXM 80 GB", 312e12, 2.039e12, "NVIDIA A100 Tensor Core GPU data sheet"),
    "h100": Gpu(
        "NVIDIA H100 SXM", 989.4e12, 3.35e12, "NVIDIA H100 Tensor Core GPU architecture and data sheet", *_HOPPER
    ),
    "h200": Gpu("NVIDIA H200 SXM", 989.4e12, 4.8e12, "NVIDIA H200 Tensor Core GPU data sheet", *_HOPPER),
    "b200": Gpu("NVIDIA HGX B200", 2250e12, 8e12, "NVIDIA Blackwell architecture technical brief"),
    "l40s": Gpu("NVIDIA L40S", 362.05e12, 0.864e12, "NVIDIA L40S data sheet"),
    "l4": Gpu("NVIDIA L4", 121e12, 0.3e12, "NVIDIA L4 data sheet, half of what it states with sparsity"),
    "a10": Gpu("NVIDIA A10", 125e12, 0.6e12, "NVIDIA A10 data sheet"),
    # GeForce cards sum bf16 products in fp32 at half the rate of fp16 sums, which their headline numbers are of.
    "rtx3090": Gpu("NVIDIA GeForce RTX 3090", 71e12, 0.936e12, "NVIDIA Ampere GA102 GPU architecture"),
    "rtx4090": Gpu("NVIDIA GeForce RTX 4090", 165.2e12, 1.008e12, "NVIDIA Ada GPU architecture"),
    "rtx5090": Gpu("NVIDIA GeForce RTX 5090", 209.5e12, 1.792e12, "NVIDIA RTX Blackwell GPU architecture"),
    "mi300x": Gpu("AMD Instinct MI300X", 1307.4e12, 5.3e12, "AMD Instinct MI300X data sheet"),
}


@dataclass(frozen=True, slots=True)
class Floor:
    """Seconds that one pass takes at least: by the kept pairs, by all of the tiles they lie in, by the bytes."""

    pairs: float | None
    tiles: float | None
    bytes: float

    @property
    def least(self) -> float:
        """The floor: what is larger of kept pairs and bytes."""
        return max(self.pairs or 0.0, self.bytes)

    @property
    def least_tiled(self) -> float | None:
        """The floor of a kernel that computes whole tiles, in the order in which positions stand."""
        return None if self.tiles is None else max(self.tiles, self.bytes)

    def to_json(self) -> dict:
        """Everything as plain data."""
        return asdict(self) | {"least": self.least, "least_tiled": self.least_tiled}


def floors(cost: Cost, gpu: Gpu) -> dict[str, Floor]:
    """Floors of the forward and the backward pass of one sequence, by the data sheet: no prediction."""
    return {
        "forward": _floor(cost, cost.forward_flops, cost.bytes, gpu),
        "backward": _floor(cost, cost.backward_flops, cost.backward_bytes, gpu),
    }


def _floor(cost: Cost, flops: int | None, moved: int, gpu: Gpu) -> Floor:
    if flops is None:
        return Floor(None, None, moved / gpu.bandwidth)
    seconds = flops / gpu.flops
    useful = None if cost.wasted is None else 1 - cost.wasted
    return Floor(seconds, seconds / useful if useful else None, moved / gpu.bandwidth)
