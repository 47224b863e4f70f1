"""What transformers is given instead of a mask: which pattern, and where queries and keys stand.

transformers asks for a mask once for each kind of layer and passes it through to the attention function untouched, so
a small tensor carries the numbers.  It stays on the CPU, where reading it waits for no device.  Padding is carried so,
too: each row has its tokens side by side, and positions count from the first of them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from types import FunctionType

import torch
from torch import Tensor
from transformers import masking_utils

from sparsec.analysis.relation import relations
from sparsec.diagnostics import SparsecError
from sparsec.importers.from_mask_mod import mask_text
from sparsec.ir import nodes as ir
from sparsec.lower.file import lower
from sparsec.runtime.attend import Attend
from sparsec.runtime.load import compile
from sparsec.sets.witness import later_key
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.transformers.refusal import refusal

_MARK = 0x5BA7  # no mask of anyone else's begins so
_NUMBERS = 6  # that every mask carries; then two for each row where rows have padding
_PLAIN = {name: f"pattern mask =\n    {name}\n" for name in ("causal", "full")}


@dataclass(frozen=True)
class ModelMask:
    """A mask function of transformers as a pattern.  `period`: a shift of all positions by it changes nothing."""

    text: str
    period: int | None

    @cached_property
    def attend(self) -> Attend:
        return compile(self.text)

    @cached_property
    def pattern(self) -> ir.Pattern:
        return _pattern(self.text)

    @cached_property
    def is_causal(self) -> bool:
        return is_causal(self.pattern)

    @cached_property
    def is_plain(self) -> bool:
        """All of the past, or all: where the model leaves it to the pattern what is seen."""
        return any(same(self.pattern, _pattern(text)) for text in _PLAIN.values())


@dataclass(frozen=True)
class Place:
    """Query i stands at q_offset + i; n keys are passed, the first at kv_offset."""

    number: int
    n_q: int
    q_offset: int
    n: int
    kv_offset: int
    rows: tuple[tuple[int, int], ...] = ()  # of each row where its first token stands, and how many it has; (): all


_texts: dict[object, str] = {}
_numbers: dict[tuple[str, int | None], int] = {}
_masks: list[ModelMask] = []


@torch.compiler.disable(reason="which pattern it is decides what is compiled")
def mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int | Tensor = 0,
    kv_offset: int = 0,
    mask_function: Callable = masking_utils.causal_mask_function,
    attention_mask: Tensor | None = None,
    local_size: int | None = None,
    **how: object,
) -> Tensor:
    """int64 [1, 1, 1, numbers] for `attention`; refuses what else depends on the data: packed rows, images."""
    q_offset, of_one = int(q_offset), _of_one_document(mask_function)
    number, rows = _number(_text(_of_one_text(of_one)), local_size), []
    found = _masks[number]
    if attention_mask is not None:
        end = q_offset + q_length if found.is_causal else kv_offset + kv_length
        rows = _rows(attention_mask, end)
        if any(rows[::2]) and found.period != 1 and not found.is_plain and not _counts_tokens(of_one, rows[::2]):
            raise refusal("padding on the left", "its mask counts positions with the padding: pad on the right")
    numbers = [_MARK, number, q_length, q_offset, kv_length, kv_offset, *rows]
    return torch.tensor(numbers).view(1, 1, 1, len(numbers))


def _rows(attention_mask: Tensor, end: int) -> list[int]:
    """Where the first token of each row stands, and how many there are before `end`; none where all are tokens."""
    is_token = attention_mask[:, :end].bool()
    last = (is_token * torch.arange(1, is_token.shape[1] + 1, device=is_token.device)).amax(-1)
    first, count = is_token.int().argmax(-1), is_token.sum(-1)
    rows = torch.stack([first, count, last], -1).tolist()
    if is_token.shape[1] < end or any(count and first + count != last for first, count, last in rows):
        raise refusal("a row with gaps", "pad on the left or on the right: tokens of a row stand side by side")
    if all(count == end for _, count, _ in rows):
        return []
    return [number for first, count, _ in rows for number in (first, count)]


def read(carried: Tensor | None) -> tuple[ModelMask, Place] | None:
    """What `mask` wrote; None for anything else."""
    if carried is None or carried.dtype != torch.int64 or carried.dim() != 4 or carried.shape[-1] < _NUMBERS:
        return None
    mark, number, n_q, q_offset, n, kv_offset, *rows = carried.flatten().tolist()
    if mark != _MARK:
        return None
    return _masks[number], Place(number, n_q, q_offset, n, kv_offset, tuple(zip(rows[::2], rows[1::2], strict=True)))


def _of_one_document(mask_function: Callable) -> Callable:
    """Without the parts for packed rows, where no row has several: under torch.compile they are always there."""
    if not _is_of(mask_function, "and_masks"):
        return mask_function
    parts = inspect.getclosurevars(mask_function).nonlocals["mask_functions"]
    packed = [each for each in parts if _is_of(each, "packed_sequence_mask_function")]
    documents = [inspect.getclosurevars(each).nonlocals["packed_sequence_mask"] for each in packed]
    if not packed or not all(bool((each == each[:, :1]).all()) for each in documents):
        return mask_function
    return masking_utils.and_masks(
        *(
            inspect.getclosurevars(each).nonlocals["mask_function"]
            if _is_of(each, "remap_positions_for_packed_sequence")
            else each
            for each in parts
            if each not in packed
        )
    )


def _parts(mask_function: Callable) -> tuple[Callable, ...]:
    """The functions that all have to keep a pair."""
    if _is_of(mask_function, "and_masks"):
        return inspect.getclosurevars(mask_function).nonlocals["mask_functions"]
    return (mask_function,)


def _of_one_text(mask_function: Callable) -> Callable:
    """As if no row had padding on its left: chunks begin with the first token of a row, and are told which that is."""
    parts = _parts(mask_function)
    if not any(_is_of(each, "chunked_overlay") for each in parts):
        return mask_function
    told = [inspect.getclosurevars(each).nonlocals if _is_of(each, "chunked_overlay") else {} for each in parts]
    return masking_utils.and_masks(
        *(
            masking_utils.chunked_overlay(own["chunk_size"], torch.zeros_like(own["left_padding"])) if own else each
            for own, each in zip(told, parts, strict=True)
        )
    )


def _counts_tokens(mask_function: Callable, first: list[int]) -> bool:
    """Whether the positions that a mask counts are those of its tokens, of which each row's first is known."""
    chunked = [each for each in _parts(mask_function) if _is_of(each, "chunked_overlay")]
    return bool(chunked) and all(
        inspect.getclosurevars(each).nonlocals["left_padding"].tolist() == first for each in chunked
    )


def _is_of(function: Callable, maker: str) -> bool:
    """Whether the function of this name made it."""
    return getattr(function, "__qualname__", "").startswith(f"{maker}.<locals>")


def _text(mask_function: Callable) -> str:
    """The pattern of a mask function; one is made anew at each step of `generate`, so the like of it is looked up."""
    key = _key(mask_function)
    if key is None or key not in _texts:
        try:
            text = mask_text(mask_function, "mask")
            text = text[text.index("pattern mask") :]  # without the name of a function, which may be any
        except SparsecError as error:
            raise refusal(
                "a mask that depends on the data",
                "packed rows (`position_ids` that restart) and images need a mask from data: give each text a row",
            ) from error
        if key is None:
            return text
        _texts[key] = text
    return _texts[key]


def _key(value: object) -> object:
    """Code and captured values of transformers' own functions, which use nothing else; None for all others."""
    if isinstance(value, Tensor):
        return tuple(value.tolist()) if value.ndim == 1 else None
    if isinstance(value, int):
        return value
    if isinstance(value, tuple):
        parts = tuple(map(_key, value))
    elif isinstance(value, FunctionType) and value.__module__ == masking_utils.__name__:
        parts = (value.__code__, *(_key(cell.cell_contents) for cell in value.__closure__ or ()))
    else:
        return None
    return None if None in parts else parts


def _number(text: str, local_size: int | None) -> int:
    if (text, local_size) not in _numbers:
        _masks.append(ModelMask(text, _period(text, local_size)))
        _numbers[text, local_size] = len(_masks) - 1
    return _numbers[text, local_size]


def _period(text: str, local_size: int | None) -> int | None:
    """1 where only the distance counts, the size of a chunk where chunks do; None where neither is proved."""
    for step in (1, local_size):
        if step and same(_pattern(text), _pattern(_shifted(text, step))):
            return step
    return None


def _shifted(text: str, step: int) -> str:
    head, _, body = text.partition("=\n")
    return f"{head}=\n" + re.sub(r"\b[qk]\b", rf"(\g<0> + {step})", body)


@cache
def _pattern(text: str) -> ir.Pattern:
    return lower(parse(Source("mask", text)))


@cache
def same(one: ir.Pattern, other: ir.Pattern) -> bool:
    """Whether they keep the same pairs for every n, proved."""
    return all(each.verdict == "equal" for each in relations(one, other))


@cache
def is_causal(pattern: ir.Pattern) -> bool:
    return all(later_key(condition) is None for condition in pattern.conditions)
