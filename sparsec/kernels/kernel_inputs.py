"""Inputs of a pattern as its kernels read them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sparsec.kernels.chosen_kernels import QUERIES_OF_LINE, SMALL, mark_chosen
from sparsec.kernels.inputs import DATA, Input
from sparsec.kernels.launch import Environment, Meta, Pass, Slot, remember
from sparsec.kernels.memory import as_contiguous
from sparsec.kernels.program import Program, cdiv

_MARKED_AT_ONCE = 1024  # entries
_BITS = 8  # words of bits, at most, in the place of an entry; where there are more, entries are sorted and searched
_BEHIND = (1 << 31) - 1  # no block has this number


def for_kernels(
    program: Program, given: Sequence[Tensor], most: int, n: int, rows_of_query: int = 1
) -> dict[str, Tensor]:
    """Checked inputs as kernels read them (`sparsec.kernels.entries`, `sparsec.kernels.chosen_kernels`).

    `most`: positions of queries and keys; `n`: the number of keys; `rows_of_query`: heads that stand side by side.
    """
    made: list[Tensor] = []
    for own, x in zip(program.inputs, given, strict=True):
        if own.is_chosen:
            made += _chosen(program, own, x, n, rows_of_query)
            continue
        if own.kind == "labels":
            made += [as_contiguous(x) for _ in own.uses]
            continue
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


# ---------------------------------------------------------------- chosen blocks


def _chosen(program: Program, own: Input, x: Tensor, n: int, rows_of_query: int) -> list[Tensor]:
    """Chosen blocks [B, G, lists, t] as CHOSEN and UNITED of `sparsec.kernels.chosen_kernels`, if they are used."""
    if not own.uses:
        return []
    x = as_contiguous(x)
    run = _marking(program, own, Meta.of(x), n, rows_of_query)
    found = run({"LISTS": x})
    if "CHOSEN" in found:
        return [found["CHOSEN"], found["UNITED"]]
    blocks = cdiv(n, own.sizes[1])
    entries = torch.where((x >= 0) & (x < blocks), x, _BEHIND).int().sort(-1).values
    pitch = 1 << max(x.shape[-1] - 1, 0).bit_length()
    return [torch.nn.functional.pad(entries, (0, pitch - x.shape[-1]), value=_BEHIND), found["UNITED"]]


def _marking(program: Program, own: Input, lists: Meta, n: int, rows_of_query: int) -> Pass:
    """The pass that sets bits of lists; none of their numbers decides it."""
    key = "chosen", own, lists, n, rows_of_query
    run = program.passes.get(key)
    if run is not None:
        return run
    run = remember(program, key, Pass(program, LISTS=lists))
    batch, groups, count, listed = lists.shape
    rows, size = own.sizes
    line = QUERIES_OF_LINE // rows_of_query
    lists_of_line = 1 if rows >= min(SMALL, line) else cdiv(line, rows)
    blocks, blocks_of_bit = cdiv(n, size), cdiv(SMALL, size)
    words, lines, united_words = cdiv(blocks, 32), cdiv(count, lists_of_line), cdiv(cdiv(blocks, blocks_of_bit), 32)
    values: Environment = {"LISTS": Slot("LISTS"), "UNITED": Slot("UNITED"), "AT_ONCE": _MARKED_AT_ONCE}
    values |= {"LISTS_OF_LINE": lists_of_line, "BLOCKS_OF_BIT": blocks_of_bit}
    run.zeros("UNITED", (batch, groups, lines, united_words, 1), torch.int32)
    if words <= _BITS * listed:
        run.zeros("CHOSEN", (batch, groups, count, words, 1), torch.int32)
        values["CHOSEN"] = Slot("CHOSEN")
    entries = batch * groups * count * listed
    values |= {"every_list": batch * groups * count, "listed": listed, "lists": count, "blocks": blocks, "words": words}
    values |= {"lines": lines, "united_words": united_words}
    if entries:
        run.launch(mark_chosen, (cdiv(entries, _MARKED_AT_ONCE), 1, 1), values)
    return run
