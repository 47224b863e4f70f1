"""Inputs of a pattern as its kernels read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from sparsec.kernels.launches.launch import Environment, Meta, Pass, Slot, remember
from sparsec.kernels.machine.memory import as_contiguous
from sparsec.kernels.program.inputs import DATA, Input
from sparsec.kernels.program.program import Program, cdiv
from sparsec.kernels.tiles.chosen import BEHIND, QUERIES_OF_LINE, SMALL, mark_chosen

_MARKED_AT_ONCE = 1024  # entries
_BITS = 8  # words of bits, at most, in the place of an entry; where there are more, entries are sorted and searched


def for_kernels(
    program: Program,
    given: Sequence[Tensor],
    most: int,
    n: int,
    rows_of_query: int = 1,
    unread: Mapping[int, Tensor] = MappingProxyType({}),
) -> dict[str, Tensor]:
    """Checked inputs as kernels read them (`sparsec.kernels.tiles.entries`, `sparsec.kernels.tiles.chosen`).

    `most`: positions of queries and keys; `n`: the number of keys; `rows_of_query`: heads that stand side by side;
    `unread`: by their numbers inputs that these kernels do not read, each with a tensor to stand in for it.
    """
    made: list[Tensor] = []
    for number, (own, x) in enumerate(zip(program.inputs, given, strict=True)):
        if number in unread:
            made += [unread[number] for _ in own.uses]
            continue
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
    """Chosen blocks [B, G, lists, t] as CHOSEN and UNITED of `sparsec.kernels.tiles.chosen`, if they are used."""
    if not own.uses:
        return []
    x, (rows, size) = as_contiguous(x), own.sizes
    together = lists_together(rows, rows_of_query)
    if cdiv(cdiv(n, size), 32) > _BITS * x.shape[-1]:
        return _searched(x, cdiv(n, size), together)
    found = _marking(program, own, Meta.of(x), n, together)({"LISTS": x})
    chosen = found["CHOSEN"].expand(-1, -1, -1, -1, x.shape[-1])  # one number in all places: says how long lists are
    return [chosen, found["UNITED"]]


def lists_together(rows: int, rows_of_query: int) -> int:
    """How many lists, each of so many queries, have a line of UNITED together."""
    line = QUERIES_OF_LINE // rows_of_query
    return 1 if rows >= min(SMALL, line) else cdiv(line, rows)


def blocks_together(size: int) -> int:
    """How many blocks of so many keys share a bit of UNITED."""
    return cdiv(SMALL, size)


def _searched(x: Tensor, blocks: int, together: int) -> list[Tensor]:
    """The entries of each list, and those of so many together, in rising order."""
    entries = torch.where((x >= 0) & (x < blocks), x, BEHIND).int()
    chosen = _in_order(entries)
    if together == 1:
        return [chosen, chosen]
    filled = torch.nn.functional.pad(entries, (0, 0, 0, -x.shape[2] % together), value=BEHIND)
    return [chosen, _in_order(filled.unflatten(2, (-1, together)).flatten(3))]


def _in_order(entries: Tensor) -> Tensor:
    """Rows of entries sorted, and filled up to a power of two."""
    length = entries.shape[-1]
    pitch = 1 << max(length - 1, 0).bit_length()
    return torch.nn.functional.pad(entries.sort(-1).values, (0, pitch - length), value=BEHIND)


def _marking(program: Program, own: Input, lists: Meta, n: int, together: int) -> Pass:
    """The pass that sets bits of lists, and of so many together; none of their numbers decides it."""
    key = "chosen", own, lists, n, together
    run = program.passes.get(key)
    if run is not None:
        return run
    run = remember(program, key, Pass(program, LISTS=lists))
    batch, groups, count, listed = lists.shape
    size = own.sizes[1]
    blocks, blocks_of_bit = cdiv(n, size), blocks_together(size)
    words, lines, united_words = cdiv(blocks, 32), cdiv(count, together), cdiv(cdiv(blocks, blocks_of_bit), 32)
    run.zeros("UNITED", (batch, groups, lines, united_words, 1), torch.int32)
    run.zeros("CHOSEN", (batch, groups, words, count, 1), torch.int32)
    values: Environment = {name: Slot(name) for name in ("LISTS", "CHOSEN", "UNITED")}
    values |= {"LISTS_OF_LINE": together, "BLOCKS_OF_BIT": blocks_of_bit, "AT_ONCE": _MARKED_AT_ONCE}
    entries = batch * groups * count * listed
    values |= {"every_list": batch * groups * count, "listed": listed, "lists": count, "blocks": blocks, "words": words}
    values |= {"lines": lines, "united_words": united_words}
    if entries:
        run.launch(mark_chosen, (cdiv(entries, _MARKED_AT_ONCE), 1, 1), values)
    return run
