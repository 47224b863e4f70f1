"""Room that a pass makes for tensors: those that it returns, and what its kernels leave for one another."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

_SCRATCH = "scratch room"  # of a call, by its name there
_APART = 256  # bytes: torch, too, lets tensors begin at multiples


@dataclass(frozen=True)
class Room:
    """The step of a pass that makes room for one tensor."""

    name: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    zero: bool = False

    def __call__(self, env: dict[str, Any]) -> None:
        made = torch.empty_strided(self.shape, self.strides, dtype=self.dtype, device=self.device)
        env[self.name] = made.zero_() if self.zero else made


@dataclass(frozen=True)
class Scratch(Room):
    """Room for what kernels alone read and write."""


@dataclass(frozen=True)
class Part:
    """The step that names a part of a scratch tensor."""

    name: str
    whole: str
    index: int  # of the first dimension
    offset: int  # bytes

    def __call__(self, env: dict[str, Any]) -> None:
        env[self.name] = env[self.whole][self.index]


def lay_scratch(room: Mapping[str, int], device: torch.device) -> tuple[list[Callable], dict[str, tuple[str, int]]]:
    """The step that makes one tensor for all that `room` names, with their bytes, none where it names nothing; and of
    each name that tensor's, and the byte at which it begins there.
    """
    within, end = {}, 0
    for name, size in room.items():
        within[name] = _SCRATCH, end
        end += -(-size // _APART) * _APART
    if not within:
        return [], {}
    return [functools.partial(_make, size=end, device=device)], within


def _make(env: dict[str, Any], size: int, device: torch.device) -> None:
    env[_SCRATCH] = torch.empty(size, dtype=torch.uint8, device=device)
