"""What transformers is given instead of a mask: which pattern, and where queries and keys stand.

transformers asks for a mask once for each kind of layer, and hands it on to the attention function untouched.  Here it
gets an int32 tensor of four dimensions, as masks have, and of O(n) memory:

    [B, numbers, 1 + p, n]      p: the number of the pattern; n: the number of keys that are passed

The attention function reads shapes, which waits for no device and is a constant under torch.compile.  All dimensions
are expanded, but for those that hold data: along the second one, the numbers of `Form` and then the pattern's inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedConfig, masking_utils

from sparsec.diagnostics import SparsecError
from sparsec.transformers.closures import Parts, taken_apart
from sparsec.transformers.patterns import ModelPattern, count_of_patterns, numbered, pattern
from sparsec.transformers.refusal import refusal


class Form(IntEnum):
    """How a mask says where queries and keys stand.  The value is how many numbers it has for that.

    Rows have three: the position of the first query, that of the first key, both counted from the row's first token,
    and the number of keys that are tokens or lie between them.
    """

    LAST = 1  # the queries are the last of the keys; no number is read
    DOCUMENTS = 2  # packed rows: the first number of each token is where its document starts
    FIRST = 3  # queries stand at 0, 1, ...; no number is read
    ROWS = 4
    SAME_ROWS = 5  # of rows: queries and keys are the same tokens
    CUT_ROWS = 6  # of rows: the cache dropped keys before those that are passed
    CU_SEQLENS = 7  # one packed row of few documents: where each begins, then the number of keys; or more than 7


_ENTRIES, _MOST_ENTRIES = 16, 64  # of CU_SEQLENS: so many for the 7th number and each beyond it; at most


class Place(NamedTuple):
    """What an attention function reads from the tensor."""

    pattern: ModelPattern
    number: int
    form: Form
    numbers: Tensor  # [B, numbers, n]
    inputs: dict[str, Tensor]

    @property
    def cu_seqlens(self) -> Tensor:
        """int32 [entries], where the form is CU_SEQLENS."""
        return self.numbers[0, 0, : _ENTRIES * (self.numbers.shape[1] - Form.CU_SEQLENS + 1)]


@torch.compiler.disable(reason="a mask function is taken apart to see which pattern it is")
def mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int | Tensor = 0,
    kv_offset: int = 0,
    mask_function: Callable = masking_utils.causal_mask_function,
    attention_mask: Tensor | None = None,
    config: PreTrainedConfig | None = None,
    device: torch.device | str = "cpu",
    **how: object,
) -> Tensor:
    """The tensor of this module's text; SparsecError for masks that are no pattern."""
    parts = taken_apart(mask_function)
    number, tensors = numbered(parts.condition)
    found = pattern(number)
    if getattr(config, "sparsec", None) is None:  # else layers have their own
        with suppress(SparsecError):  # models ask for masks that no layer uses; one that does will say it
            found.operator(getattr(config, "attn_logit_softcapping", None))
    if parts.padding is not None:
        attention_mask = parts.padding if attention_mask is None else _both(attention_mask, parts.padding)
    keys = slice(kv_offset, kv_offset + kv_length)
    inputs = [each[:, keys].to(device, torch.int32) for each in tensors]
    if any(each.shape != (batch_size, kv_length) for each in inputs):
        shapes = ", ".join(str([*each.shape]) for each in tensors)
        raise refusal(f"data of shape {shapes}", f"a mask of {batch_size} rows and {kv_length} keys reads as many")
    count: int  # of numbers
    if packed := _documents(parts, found, batch_size):
        count, numbers = packed
        if attention_mask is not None or (q_length, kv_length, kv_offset) != (*numbers.shape[2:], kv_length, 0):
            raise refusal("packed rows with padding or a cache", "leave `attention_mask` out, and `use_cache=False`")
        numbers = numbers.expand(batch_size, 1, kv_length)
    else:
        count, numbers = _rows(
            batch_size, q_length, kv_length, q_offset, kv_offset, attention_mask, found, parts.chunks_begin, device
        )
    if inputs:
        numbers = numbers.expand(batch_size, numbers.shape[1], kv_length)
    filler = numbers.new_zeros(()).expand(batch_size, count - numbers.shape[1], numbers.shape[2])
    written = torch.cat([numbers.to(device), filler, *(each[:, None] for each in inputs)], 1)
    return written[:, :, None].expand(batch_size, count + len(inputs), 1 + number, kv_length)


def read(carried: Tensor | None) -> Place | None:
    """What `mask` wrote; None for anything else."""
    if carried is None or carried.dtype != torch.int32 or carried.dim() != 4:
        return None
    for number in range(count_of_patterns()):  # comparisons fix sizes that torch.compile has made symbols
        if carried.shape[2] == 1 + number:
            break
    else:
        return None
    found = pattern(number)
    for count in range(1, Form.CU_SEQLENS + _MOST_ENTRIES // _ENTRIES):
        if carried.shape[1] == count + len(found.inputs):
            break
    else:
        return None
    inputs = {name: carried[:, count + i, 0] for i, name in enumerate(found.inputs)}
    return Place(found, number, Form(min(count, Form.CU_SEQLENS)), carried[:, :count, 0], inputs)


def _both(one: Tensor, other: Tensor) -> Tensor:
    """Two padding masks [B, n] as one; what one of them has no entry for is padding."""
    n = min(one.shape[1], other.shape[1])
    return one[:, :n].bool() & other[:, :n].bool().to(one.device)


# ---------------------------------------------------------------- packed rows


def _documents(parts: Parts, found: ModelPattern, batch: int) -> tuple[int, Tensor] | None:
    """How many numbers say which documents there are, and int32 [B, 1, n]: the start of each token's document, or, of
    one row, the starts of few documents, one after the other.  None where every row is one text.

    Under torch.compile transformers can't look whether rows are packed, and always says that they are.
    """
    ids = parts.documents
    if ids is None:
        return None
    place = torch.arange(ids.shape[1], device=ids.device)
    start = torch.searchsorted(ids.contiguous(), ids.contiguous())
    positions = place if parts.positions is None else parts.positions.to(ids.device)
    first = start == place
    rises, moved, most = torch.stack(
        [(ids.diff(dim=1) >= 0).all(), (positions != place - start).any(), first.sum(1).amax()]
    ).tolist()
    if not rises:
        raise refusal("documents whose tokens are not side by side", "tokens of a document stand side by side")
    if moved and not found.by_distance:
        raise refusal("documents that do not begin at position 0", "its mask counts positions: let each begin at 0")
    if most == 1:
        return None
    blocks = most // _ENTRIES + 1  # with one entry more than there are documents
    if batch > 1 or blocks * _ENTRIES > min(_MOST_ENTRIES, ids.shape[1]):
        return Form.DOCUMENTS, start.to(torch.int32)[:, None]
    begins = place.where(first, ids.shape[1]).sort(dim=1).values
    return Form.CU_SEQLENS + blocks - 1, begins.to(torch.int32)[:, None]


# ---------------------------------------------------------------- rows, padding, caches


def _rows(
    batch: int,
    q_length: int,
    kv_length: int,
    q_offset: int | Tensor,
    kv_offset: int,
    attention_mask: Tensor | None,
    found: ModelPattern,
    chunks_begin: Tensor | None,
    device: torch.device | str,
) -> tuple[Form, Tensor]:
    """The form and its numbers, int32 [B, numbers, 1].

    Keys of a causal mask end with its queries: a static cache passes some that are not written yet.
    """
    known = not isinstance(q_offset, Tensor)
    end = q_offset + q_length if found.is_causal else kv_offset + kv_length
    end = min(end, kv_offset + kv_length) if isinstance(end, int) else end
    first, stop, whole = (0, end, True) if attention_mask is None else _tokens(attention_mask, end, found, chunks_begin)
    if whole and known and kv_offset == 0:
        nothing = torch.zeros((), dtype=torch.int32, device=device).expand(batch, 1, 1)
        if q_offset + q_length == kv_length:
            return Form.LAST, nothing
        if q_offset == 0 and end == kv_length:
            return Form.FIRST, nothing
    q_first, k_first, first, stop = (_column(each, batch, device) for each in (q_offset, kv_offset, first, stop))
    numbers = torch.stack([q_first - first, k_first - first, stop - first], 1)[..., None]
    if kv_offset:
        return Form.CUT_ROWS, numbers
    same = found.is_causal and known and q_offset == 0 and q_length == kv_length
    return Form.SAME_ROWS if same else Form.ROWS, numbers


def _column(number: int | Tensor, batch: int, device: torch.device | str) -> Tensor:
    """int32 [B], without a copy from the host."""
    if isinstance(number, Tensor):
        return number.to(device, torch.int32).expand(batch)
    return torch.full((batch,), number, dtype=torch.int32, device=device)


def _tokens(
    attention_mask: Tensor, end: int | Tensor, found: ModelPattern, chunks_begin: Tensor | None
) -> tuple[Tensor, Tensor, bool]:
    """Where each row's tokens before `end` begin and end, [B] each, and whether they fill it; looked at once.

    A graph that is being captured can't wait for the look: there rows are taken for what they have to be.
    """
    place = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    end = end.to(attention_mask.device) if isinstance(end, Tensor) else end
    is_token = attention_mask.bool() & (place < end)
    begins, ends, count = is_token.int().argmax(1), (is_token * (place + 1)).amax(1), is_token.sum(1)
    if attention_mask.is_cuda and torch.cuda.is_current_stream_capturing():
        return begins, ends, False
    counted_from = 0 if chunks_begin is None else chunks_begin.to(begins.device)
    moved = (begins != counted_from) & (count > 0)
    gaps, whole, moved = torch.stack([(ends - begins != count).any(), (count == end).all(), moved.any()]).tolist()
    if gaps:
        raise refusal("a row with gaps", "pad on the left or on the right: tokens of a row stand side by side")
    if moved and not found.by_distance:
        raise refusal("padding on the left", "its mask counts positions with the padding: pad on the right")
    return begins, ends, bool(whole)
