"""Room that a pass makes for tensors: those that it returns, and what its kernels leave for one another."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

SCRATCH = "scratch room"  # of a call, by its name there
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

    @property
    def quick(self) -> Callable[[dict[str, Any]], None]:
        """The same step for many calls: torch makes a tensor like another in half the time."""
        like = like_of(self)
        return self if like is None else functools.partial(_zeros if self.zero else _empty, name=self.name, like=like)


def like_of(own: Any) -> Tensor | None:
    """A tensor, of one element, of which torch makes another with the shape, strides, dtype and device of its own.

    None where torch makes none with such strides.
    """
    like = torch.empty((), dtype=own.dtype, device=own.device).expand(own.shape)
    return like if torch.empty_like(like.to("meta")).stride() == own.strides else None


def _empty(env: dict[str, Any], name: str, like: Tensor) -> None:
    env[name] = torch.empty_like(like)


def _zeros(env: dict[str, Any], name: str, like: Tensor) -> None:
    env[name] = torch.zeros_like(like)


@dataclass(frozen=True)
class Scratch(Room):
    """Room for what kernels alone read and write."""


@dataclass(frozen=True)
class ScratchPart:
    """The step that names a part of a scratch tensor."""

    name: str
    whole: str
    index: int  # of the first dimension
    offset: int  # bytes

    def __call__(self, env: dict[str, Any]) -> None:
        env[self.name] = env[self.whole][self.index]


def lay_scratch(room: Mapping[str, int], steps: Iterable[Any] = ()) -> tuple[int, dict[str, tuple[str, int]]]:
    """How many bytes all need that `room` names, with their bytes; and where in SCRATCH each of them begins.

    And where parts of them begin that `steps` name.
    """
    within, end = {}, 0
    for name, size in room.items():
        within[name] = SCRATCH, end
        end += -(-size // _APART) * _APART
    for step in steps:
        if isinstance(step, ScratchPart):
            within[step.name] = SCRATCH, within[step.whole][1] + step.offset
    return end, within


# Memory of torch's own, in the order of a stream, without a tensor around it: (bytes, stream) -> address, and back.
# None where torch has no such functions.
take: Any = getattr(torch._C, "_cuda_cudaCachingAllocator_raw_alloc", None)
give_back: Any = getattr(torch._C, "_cuda_cudaCachingAllocator_raw_delete", None)
