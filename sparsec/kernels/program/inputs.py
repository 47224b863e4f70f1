"""Inputs of a pattern, data given at the call: checked as declared, cut for a row and a head, and read on a CPU."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

_INTEGERS = torch.int32, torch.int64
_REALS = torch.float32, torch.float16, torch.bfloat16, torch.float64
_KINDS = {"bool": (torch.bool,), "float": _REALS, "scores": _REALS, "centroids": _REALS}  # others are integers
_WORDS = {
    "bool": "bool",
    "float": "float32, float16 or bfloat16",
    "scores": "real numbers",
    "centroids": "real numbers",
}


class Input(NamedTuple):
    """An input as declared: axes are "B", "H", "n" and names of lists; "n" twice in one of float.

    One of chosen blocks has "B", "G", "rows", and the name or the number of entries; one of labels "B", "H", "lines"
    and "labels", of queries and then of keys.  Real numbers are scores, "B", "G", "rows", "blocks", or centroids, "G",
    the name or the number of these, and "D".
    """

    name: str
    kind: str
    axes: tuple[str, ...]
    line: int
    uses: tuple[str, ...] = ()  # what kernels get of it: "entries", "sorted", "counted", "chosen", "united"
    sizes: tuple[int, int] = (1, 1)  # of chosen ones: queries that share a list, and keys of a block
    choice: Any = None  # how the operator makes it itself: a Chooser of `sparsec.kernels.chosen.choosers`

    @property
    def has_entries(self) -> bool:
        """Whether a row and a head have several numbers: one for each position, or a list."""
        return bool(self.axes) and self.axes[-1] not in ("B", "H")

    @property
    def is_list(self) -> bool:
        """Whether its entries are those of a list, and not of positions."""
        return self.has_entries and self.axes[-1] != "n"

    @property
    def of_pairs(self) -> bool:
        """Whether it has an entry for each query and key, row by row."""
        return self.axes[-2:] == ("n", "n")

    @property
    def is_chosen(self) -> bool:
        """Whether it lists blocks of keys, or keys, for each block of queries."""
        return self.kind in ("blocks", "keys")

    @property
    def has_groups(self) -> bool:
        """Whether an axis is of heads that some query heads may share: it has four axes, or as centroids three."""
        return self.is_chosen or self.kind in ("scores", "centroids")

    @property
    def has_lists(self) -> bool:
        """Whether it has a line for each block of queries: of chosen blocks, or of scores of blocks."""
        return self.is_chosen or self.kind == "scores"

    @property
    def by_row(self) -> bool:
        """Whether it is about the rows of q in a call: it has four axes."""
        return self.is_chosen or self.kind == "labels"

    def __str__(self) -> str:
        sizes = (*map(str, self.sizes),)
        shown = {
            "blocks": (*sizes, *self.axes[-1:]),
            "keys": self.axes[-1:],
            "scores": sizes,
            "centroids": self.axes[1:2],
        }
        axes = shown.get(self.kind, self.axes)
        shape = f"[{', '.join(axes)}]" if axes else ""
        return f"`{self.name}: {self.kind}{shape}` of line {self.line}"


def checked_inputs(
    inputs: Sequence[Input], given: Mapping[str, Any], q: Tensor, k: Tensor, documents: bool = False
) -> list[Tensor]:
    """The tensors of a call in the order of the declarations, each [B or 1, H or 1, entries or 1], or with four axes.

    Those that the operator makes itself are not among them.  `documents`: there are several in a row, whose ends say
    how many lists they have (`sparsec.kernels.sequences.inputs` looks).  ValueError.
    """
    inputs = [each for each in inputs if each.choice is None]
    names = [each.name for each in inputs]
    for name in given:
        if name not in names:
            has = f"it has {', '.join(map(str, inputs))}" if inputs else "it has none"
            raise ValueError(f"[SP0620] this pattern reads no input `{name}`: {has}")
    return spread(
        inputs, {each.name: _checked(each, given.get(each.name), q, k, documents) for each in inputs}, q.dtype
    )


def _checked(own: Input, x: Any, q: Tensor, k: Tensor, documents: bool) -> Tensor:
    words = _WORDS.get(own.kind, "int32 or int64")
    if x is None:
        raise ValueError(f"[SP0620] the input {own} is missing: pass {own.name}=..., a tensor of {words}")
    if not isinstance(x, Tensor):
        got = type(x).__name__
        raise ValueError(f"[SP0620] the input {own} must be a tensor of {words}, got {got}")
    if x.dtype not in _KINDS.get(own.kind, _INTEGERS):
        raise ValueError(f"[SP0620] the input {own} must be a tensor of {words}, got {x.dtype}")
    if x.is_nested or x.layout != torch.strided:
        raise ValueError(f"[SP0620] the input {own} must be a dense tensor")
    if x.device != q.device:
        cure = f"move it with .to({str(q.device)!r})"
        raise ValueError(f"[SP0620] the input {own} must be on the device of q, {q.device}, got {x.device}: {cure}")
    sizes: dict[str, tuple[int, ...]] = {"B": (q.shape[0],), "H": (q.shape[1],), "n": (k.shape[2],)}
    if own.has_groups:
        sizes = {"B": (q.shape[0],), "G": (1, k.shape[1], q.shape[1]), "D": (q.shape[3],)}
        if not documents:
            sizes |= {"rows": (-(-q.shape[2] // own.sizes[0]),), "blocks": (-(-k.shape[2] // own.sizes[1]),)}
    wanted = [sizes.get(axis) for axis in own.axes]
    if own.has_groups and own.kind != "scores":  # an axis has the name, or the number, of the declaration
        place = 1 if own.kind == "centroids" else -1
        wanted[place] = (int(own.axes[place]),) if own.axes[place].isdigit() else None
    fits = x.dim() == len(wanted) and all(
        some is None or real in some for some, real in zip(wanted, x.shape, strict=True)
    )
    if not fits:
        axes = zip(own.axes, wanted, strict=True)
        shown = ", ".join(axis if some is None else _sized(axis, some) for axis, some in axes)
        said = f"the input {own} must have the shape [{shown}], got {list(x.shape)}"
        if documents and not own.has_groups and own.axes[:1] == ("B",) and not own.has_entries:
            said += ": documents share a row, so a number of each is one for each of its tokens, along `n`"
        raise ValueError(f"[SP0620] {said}")
    return x


def spread(inputs: Sequence[Input], given: Mapping[str, Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The tensors of a call that fit the declarations: views with all three axes, those not declared of size 1.

    Those of float in the type of sums for `dtype`, that of q.
    """
    exact = torch.promote_types(dtype, torch.float32)
    fitting = ((each, given[each.name]) for each in inputs)
    return [_spread(each, x.to(exact) if each.kind == "float" else x) for each, x in fitting]


def refuse_lists(inputs: Sequence[Input]) -> None:
    """ValueError SP0622 for inputs that a sharded call about documents can't have."""
    for own in inputs:
        if own.by_row:
            word = own.name.partition(".")[0]
            verb = "chooses" if own.is_chosen else "makes"
            what = f"the input {own} lists" if own.choice is None else f"`{word}` in line {own.line} {verb}"
            kind = "blocks" if own.is_chosen else "groups"
            cure = "call once for each document, or give each rank whole documents and call the operator itself"
            raise ValueError(f"[SP0622] {what} {kind} of each document, which ranks do not share: {cure}")


def _sized(axis: str, sizes: Sequence[int]) -> str:
    shown = " or ".join(map(str, sorted(set(sizes))))
    return shown if axis.isdigit() else f"{axis} = {shown}"


def _spread(own: Input, x: Tensor) -> Tensor:
    """A view with all three axes, those that are not there of size 1; what is chosen, or chosen by, has four."""
    if own.has_groups:
        return x[None] if own.kind == "centroids" else x
    x = x.flatten(-2) if own.of_pairs else x if own.has_entries else x[..., None]
    x = x if "H" in own.axes else x.unsqueeze(-2)
    return x if "B" in own.axes else x[None]


def cut(own: Input, x: Tensor, row: int, keys: slice) -> Tensor:
    """Of a checked input what belongs to one row of the batch and some of its keys."""
    x = x[row : row + 1] if len(x) > 1 else x
    return part_of(own, x, keys).flatten(2) if own.has_entries else x


def part_of(own: Input, x: Tensor, keys: slice) -> Tensor:
    """A view of what belongs to some keys, [.., keys] or [.., keys, keys]; of inputs that are not of keys all."""
    if own.of_pairs:
        side = math.isqrt(x.shape[-1])
        return x.unflatten(-1, (side, side))[..., keys, keys]
    return x[..., keys] if own.axes[-1:] == ("n",) else x


# ---------------------------------------------------------------- what kernels read


DATA = "INPUT_"  # begins the names of what kernels read of inputs, among the tensors of a call
BITS = 5  # axes of what kernels read of chosen blocks where it is bits


def form_of(own: Input, use: str, shape: Sequence[int]) -> int:
    """FORM of a tensor for kernels: rows of the batch, heads, and the pitch of a list, how blocks are chosen, or how
    many lines labels have.
    """
    if own.is_chosen:
        levels = 0 if len(shape) == BITS else shape[-1].bit_length()
        return (shape[0] > 1) + 2 * (shape[1] > 1) + 4 * (levels + 32 * shape[1])
    if own.kind == "labels":
        return (shape[0] > 1) + 2 * (shape[1] > 1) + 4 * shape[2]
    pitch = (shape[-1] - 1).bit_length() if own.is_list or use != "entries" else 0
    return (shape[0] > 1) + 2 * (shape[1] > 1) + 4 * pitch
