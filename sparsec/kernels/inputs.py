"""Inputs of a pattern, data given at the call: checked as declared, cut for a row and a head, and read on a CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.memory import as_contiguous

_KINDS = {"bool": (torch.bool,), "int": (torch.int32, torch.int64)}
_WORDS = {"bool": "bool", "int": "int32 or int64"}


class Input(NamedTuple):
    """An input as declared: axes are "B", "H", "n" and names of lists."""

    name: str
    kind: str
    axes: tuple[str, ...]
    line: int
    uses: tuple[str, ...] = ()  # what kernels get of it: "entries", "sorted", "counted"

    @property
    def has_entries(self) -> bool:
        """Whether a row and a head have several numbers: one for each position, or a list."""
        return bool(self.axes) and self.axes[-1] not in ("B", "H")

    @property
    def is_list(self) -> bool:
        """Whether its entries are those of a list, and not of positions."""
        return self.has_entries and self.axes[-1] != "n"

    def __str__(self) -> str:
        shape = f"[{', '.join(self.axes)}]" if self.axes else ""
        return f"`{self.name}: {self.kind}{shape}` of line {self.line}"


class Entries(NamedTuple):
    """What an input holds for one row and one head, int64: a number, or `length` entries with a 0 behind them.

    `first` is the index of the first entry.
    """

    values: Tensor
    length: int
    first: int


def checked_inputs(inputs: Sequence[Input], given: Mapping[str, Any], q: Tensor, k: Tensor) -> list[Tensor]:
    """The tensors of a call in the order of the declarations, each [B or 1, H or 1, entries or 1].  ValueError."""
    names = [each.name for each in inputs]
    for name in given:
        if name not in names:
            has = f"it has {', '.join(map(str, inputs))}" if inputs else "it has none"
            raise ValueError(f"[SP0620] this pattern reads no input `{name}`: {has}")
    return spread(inputs, {each.name: _checked(each, given.get(each.name), q, k) for each in inputs})


def _checked(own: Input, x: Any, q: Tensor, k: Tensor) -> Tensor:
    if x is None:
        raise ValueError(f"[SP0620] the input {own} is missing: pass {own.name}=..., a tensor of {_WORDS[own.kind]}")
    if not isinstance(x, Tensor):
        got = type(x).__name__
        raise ValueError(f"[SP0620] the input {own} must be a tensor of {_WORDS[own.kind]}, got {got}")
    if x.dtype not in _KINDS[own.kind]:
        raise ValueError(f"[SP0620] the input {own} must be a tensor of {_WORDS[own.kind]}, got {x.dtype}")
    if x.is_nested or x.layout != torch.strided:
        raise ValueError(f"[SP0620] the input {own} must be a dense tensor")
    if x.device != q.device:
        cure = f"move it with .to({str(q.device)!r})"
        raise ValueError(f"[SP0620] the input {own} must be on the device of q, {q.device}, got {x.device}: {cure}")
    sizes = {"B": q.shape[0], "H": q.shape[1], "n": k.shape[2]}
    wanted = [sizes.get(axis) for axis in own.axes]
    if x.dim() != len(wanted) or any(size not in (None, real) for size, real in zip(wanted, x.shape, strict=True)):
        axes = zip(own.axes, wanted, strict=True)
        shown = ", ".join(axis if size is None else f"{axis} = {size}" for axis, size in axes)
        raise ValueError(f"[SP0620] the input {own} must have the shape [{shown}], got {list(x.shape)}")
    return x


def spread(inputs: Sequence[Input], given: Mapping[str, Tensor]) -> list[Tensor]:
    """The tensors of a call that fit the declarations: views with all three axes, those not declared of size 1."""
    return [_spread(each, given[each.name]) for each in inputs]


def _spread(own: Input, x: Tensor) -> Tensor:
    x = x if own.has_entries else x[..., None]
    x = x if "H" in own.axes else x.unsqueeze(-2)
    return x if "B" in own.axes else x[None]


def cut(own: Input, x: Tensor, row: int, keys: slice) -> Tensor:
    """Of a checked input what belongs to one row of the batch and some of its keys."""
    x = x[row : row + 1] if len(x) > 1 else x
    return x[..., keys] if own.axes[-1:] == ("n",) else x


def entries_of(inputs: Sequence[Input], given: Sequence[Tensor], row: int, head: int, k_begin: int) -> list[Entries]:
    """What a row of the batch and a query head read of checked inputs; the first key is at position `k_begin`."""
    found = []
    for own, x in zip(inputs, given, strict=True):
        values = x[row if len(x) > 1 else 0, head if x.shape[1] > 1 else 0].long()
        if own.has_entries:
            first = k_begin if own.axes[-1] == "n" else 0
            found.append(Entries(torch.nn.functional.pad(values, (0, 1)), len(values), first))
        else:
            found.append(Entries(values[0], 0, 0))
    return found


# ---------------------------------------------------------------- what kernels read


DATA = "INPUT_"  # begins the names of what kernels read of inputs, among the tensors of a call


def for_kernels(inputs: Sequence[Input], given: Sequence[Tensor], most: int) -> dict[str, Tensor]:
    """Checked inputs as kernels read them (`sparsec.kernels.entries`); `most`: positions of queries and keys."""
    made = []
    for own, x in zip(inputs, given, strict=True):
        x = x.view(torch.int8) if own.kind == "bool" else x
        for use in own.uses:
            if use == "counted":
                made.append(_counted(x, most))
            elif use == "sorted":
                made.append(_behind_length(x.sort(-1).values))
            else:
                made.append(_behind_length(x) if own.is_list else as_contiguous(x))
    return {f"{DATA}{number}": x for number, x in enumerate(made)}


def _behind_length(x: Tensor) -> Tensor:
    """Lists [.., entries] in rows of a power of two, each behind its length: new lengths rarely compile anything."""
    length = x.shape[-1]
    made = x.new_zeros((*x.shape[:-1], 1 << length.bit_length()))
    made[..., 0] = length
    made[..., 1 : length + 1] = x
    return made


def _counted(x: Tensor, most: int) -> Tensor:
    """Of lists [.., entries] twice how many are less than each value, and 1 more for an entry: int32 [.., pitch].

    Values begin with - pitch / 2; the pitch is a power of two, and more than twice `most`.
    """
    half = 1 << most.bit_length()
    counts = torch.zeros((*x.shape[:-1], 2 * half), dtype=torch.int32, device=x.device)
    inside = (x >= -half) & (x < half - 1)  # others are no position, nor a difference of two
    ones = inside.to(torch.int32)
    counts.scatter_add_(-1, torch.where(inside, x + half, 0).long(), ones)
    return counts.cumsum(-1, dtype=torch.int32).sub_(counts).mul_(2).add_(counts > 0)


def form_of(own: Input, use: str, shape: Sequence[int]) -> int:
    """FORM of a tensor for kernels: rows of the batch, heads, and the pitch of a list."""
    pitch = (shape[-1] - 1).bit_length() if own.is_list or use != "entries" else 0
    return (shape[0] > 1) + 2 * (shape[1] > 1) + 4 * pitch


# ---------------------------------------------------------------- what conditions ask


def is_inside(entries: Entries, index: Tensor | int) -> Tensor:
    """Whether there is such an entry."""
    index = torch.as_tensor(index)
    return (index >= entries.first) & (index < entries.first + entries.length)


def entry(entries: Entries, index: Tensor | int | None = None) -> Tensor:
    """The entry at an index, 0 where there is none; without an index the number of the row and head."""
    if index is None:
        return entries.values
    return entries.values[torch.where(is_inside(entries, index), index - entries.first, entries.length)]


def is_entry(entries: Entries, value: Tensor | int) -> Tensor:
    """Whether a value is among the entries."""
    return torch.isin(torch.as_tensor(value), entries.values[: entries.length])
