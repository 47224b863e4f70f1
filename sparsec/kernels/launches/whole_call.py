"""A prepared pass as one function in C, from the tensors of a call to those that it returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.launches.direct import STREAM, at_hand, bound, chain, current_stream, hooked
from sparsec.kernels.launches.launch import Launch, Pass
from sparsec.kernels.launches.scratch import SCRATCH, Room, ScratchPart, give_back, lay_scratch, take

Whole = Callable[..., Any]  # of tensors and numbers of a call -> the tensor that it makes, or several; None: not by C


def whole_call(
    run: Pass, given: Mapping[str, int], numbers: Mapping[str, Any], made: Mapping[str, Tensor | None]
) -> Whole | None:
    """The pass as a function; None where it does more than launches whose kernels are all known.

    `given`: of names in the pass, which argument they are; `numbers` that are the same at every call; `made`: what it
    returns, by name in the pass, a tensor that torch makes others like.  Other room is given back when all is launched.
    """
    launches = [step.known for step in run.steps if isinstance(step, Launch)]
    rooms = [step for step in run.steps if type(step) is Room]
    more = len(run.steps) - len(launches) - sum(isinstance(step, Room | ScratchPart) for step in run.steps)
    if run.direct is None or more or not launches or None in launches or None in made.values():
        return None
    if any(room.zero for room in rooms):
        return None
    inside = {room.name: math.prod(room.shape) * room.dtype.itemsize for room in rooms if room.name not in made}
    size, within = lay_scratch(run.scratch_room | inside, run.steps)
    if size and take is None:
        return None
    chained = chain(launches, within)  # type: ignore[arg-type]
    arguments = len(set(given.values()))
    others = {name: arguments + place for place, name in enumerate((*made, *numbers, SCRATCH, STREAM))}
    sources = tuple((others | dict(given))[name] for name in chained.names)
    functions = torch.empty_like, current_stream, take, give_back
    known = (*made.values(),), (*numbers.values(),), sources, functions, run.device.index, size or None
    return bound(chained, arguments, *known)


def in_c(whole: Whole | None, device: torch.device) -> bool:
    """Whether the function may be called now, in this thread."""
    return whole is not None and at_hand(device) and not hooked()
