"""A mask function of transformers, taken apart: its condition on positions, and the data beside it.

transformers builds a mask from functions `f(batch, head, q, k)` that capture others: a window within a union within
packed rows within padding.  What they capture is read from their closures.  Documents, padding and where a row's chunks
begin are taken out, as tensors of their own; what is left is a condition, the same for all rows of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import masking_utils

from sparsec.transformers.refusal import refusal

MaskFunction = Callable[..., object]

MOST_POSITIONS = 1 << 30  # of an operator: a window or a chunk of that size holds all


@dataclass
class Parts:
    """What a mask function is made of."""

    condition: MaskFunction = masking_utils.bidirectional_mask_function
    documents: Tensor | None = None  # [B, n]: tokens with the same number see each other
    positions: Tensor | None = None  # [B, n]: where tokens stand in their documents; None: in the row
    padding: Tensor | None = None  # [B, n]: which keys are tokens
    chunks_begin: Tensor | None = None  # [B]: where the first chunk of a row begins


def captured(function: MaskFunction) -> dict[str, Any]:
    """What a function captured, by name."""
    code, found = getattr(function, "__code__", None), {}
    for name, cell in zip(code.co_freevars if code else (), getattr(function, "__closure__", None) or (), strict=True):
        with suppress(ValueError):  # not filled yet
            found[name] = cell.cell_contents
    return found


def made_by(function: MaskFunction, maker: str) -> bool:
    """Whether the function of this name of transformers made it."""
    return getattr(function, "__qualname__", "").startswith(f"{maker}.<locals>")


def taken_apart(function: MaskFunction) -> Parts:
    """SparsecError for data that stands where it can't be taken out."""
    parts = Parts()
    parts.condition = _walk(function, parts, required=True) or masking_utils.bidirectional_mask_function
    if parts.positions is not None:
        if parts.documents is None:
            raise refusal("positions that restart, in one document", "give each text a row of its own")
        if _outside_of_documents(function):
            raise refusal("a condition on positions beside documents", "give each text a row of its own")
    return parts


def _walk(function: MaskFunction, parts: Parts, required: bool) -> MaskFunction | None:
    """The function without its data; None where nothing else is left.

    `required`: a pair is kept only where this function keeps it, so that data may be taken out of it.
    """
    own = captured(function)
    if made_by(function, "and_masks") or made_by(function, "or_masks"):
        together = made_by(function, "and_masks")
        inner = own["mask_functions"]
        walked = [_walk(each, parts, required and together) for each in inner]
        if all(new is old for new, old in zip(walked, inner, strict=True)):
            return function
        left = [each for each in walked if each is not None]
        combine = masking_utils.and_masks if together else masking_utils.or_masks
        return None if not left else left[0] if len(left) == 1 else combine(*left)
    if made_by(function, "remap_positions_for_packed_sequence"):
        _once(parts, "positions", own["position_ids"])
        return _walk(own["mask_function"], parts, required) or masking_utils.bidirectional_mask_function
    for maker, name in _SIZES:
        if made_by(function, maker) and own[name] >= MOST_POSITIONS:
            return None if required else masking_utils.bidirectional_mask_function
    if made_by(function, "chunked_overlay"):
        begin = own["left_padding"]
        _once(parts, "chunks_begin", begin)
        return masking_utils.chunked_overlay(own["chunk_size"], begin.new_zeros(len(begin)))
    for maker, name, tensor in _DATA:
        if made_by(function, maker):
            if not required:
                raise refusal(f"`{maker}` in a union of masks", "data can narrow a mask, and not widen it")
            _once(parts, name, own[tensor])
            return None
    return None if required and function is masking_utils.bidirectional_mask_function else function


_SIZES = (
    ("sliding_window_overlay", "sliding_window"),
    ("sliding_window_bidirectional_overlay", "sliding_window"),
    ("chunked_overlay", "chunk_size"),
)
_DATA = (
    ("packed_sequence_mask_function", "documents", "packed_sequence_mask"),
    ("padding_mask_function", "padding", "padding_mask"),
)


def _once(parts: Parts, name: str, tensor: object) -> None:
    before = getattr(parts, name)
    if before is not None and before is not tensor:
        raise refusal(f"{name.replace('_', ' ')} in two ways", "combine them before")
    setattr(parts, name, tensor)


def _outside_of_documents(function: MaskFunction) -> bool:
    """Whether some condition reads positions in the row, where others read those in a document."""
    if made_by(function, "and_masks") or made_by(function, "or_masks"):
        return any(map(_outside_of_documents, captured(function)["mask_functions"]))
    inside = ("remap_positions_for_packed_sequence", "blockwise_overlay", *(maker for maker, *_ in _DATA))
    return not any(made_by(function, maker) for maker in inside)
