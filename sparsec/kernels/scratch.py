"""Room for what kernels of a pass leave for others of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

_SCRATCH = "scratch room"  # of a call, by its name there
_APART = 256  # bytes: torch, too, lets tensors begin at multiples


@dataclass(frozen=True)
class Scratch:
    """The step of a pass that makes room for one tensor."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def __call__(self, env: dict[str, Any]) -> None:
        env[self.name] = torch.empty(self.shape, dtype=self.dtype, device=self.device)


class _Address:
    """Where in a tensor of bytes another one is: launches that are known ask a tensor for nothing else."""

    __slots__ = ("address",)

    def __init__(self, address: int) -> None:
        self.address = address

    def data_ptr(self) -> int:
        return self.address


def lay_scratch(room: Mapping[str, int], device: torch.device) -> list[Callable[[dict[str, Any]], object]]:
    """The step that makes one tensor for all that `room` names, with their bytes; none where it names nothing."""
    offsets, end = [], 0
    for name, size in room.items():
        offsets.append((name, end))
        end += -(-size // _APART) * _APART

    def lay(env: dict[str, Any]) -> None:
        tensor = env[_SCRATCH] = torch.empty(end, dtype=torch.uint8, device=device)
        begin = tensor.data_ptr()
        for name, offset in offsets:
            env[name] = _Address(begin + offset)

    return [lay] if offsets else []
