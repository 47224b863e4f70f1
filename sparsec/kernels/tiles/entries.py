"""Device functions: entries of inputs, data given at the call, that masks read.

An input is a contiguous tensor [B or 1, H or 1, entries].  FORM says how, in one number: 1 where it has rows of the
batch, and 2 where it has heads, and 4 times the binary logarithm of a list's pitch.  A list stands behind its length,
sorted where it is searched.  Of one that is asked for positions and distances alone, there is a number for each value
from - pitch / 2 on: twice how many entries are less, and 1 more where the value is an entry.

`at`: the row of the batch and the query head that a pair belongs to, and how many heads there are; for one of several
sequences also the row of K where the key at position 0 would be, the position of the first key that is there, and how
many rows K has.  Entries of positions stand where keys do.
"""

from __future__ import annotations

from sparsec.kernels.machine.device import tl, triton


@triton.jit
def entries_at(INPUT, at, FORM: tl.constexpr, length):
    """Pointer to the entries of a row and a head, `length` of which lie in between."""
    row = tl.cast(0, tl.int64)
    if FORM % 2 == 1:
        row += at[0]
    if FORM // 2 % 2 == 1:
        row = row * at[2] + at[1]
    return INPUT + row * length


@triton.jit
def read_number(INPUT, at, FORM: tl.constexpr):
    """The number of a row and a head."""
    return tl.load(entries_at(INPUT, at, FORM, 1))


@triton.jit
def positions_at(INPUT, at, FORM: tl.constexpr, n):
    """Pointer to the entry of position 0."""
    LENGTH: tl.constexpr = len(at)
    if LENGTH != 6:
        entries = entries_at(INPUT, at, FORM, n)
    else:
        entries = entries_at(INPUT, at, FORM, at[5]) + at[3]
    return entries


@triton.jit
def first_position_at(at):
    """The first position that has an entry."""
    LENGTH: tl.constexpr = len(at)
    first = 0
    if LENGTH == 6:  # of one of several sequences
        first = at[4]
    return first


@triton.jit
def is_position(at, index, n):
    """Whether there is an entry for a position."""
    return (index >= first_position_at(at)) & (index < n)


@triton.jit
def read_position(INPUT, at, FORM: tl.constexpr, index, n):
    """The entry of a position, 0 where there is none."""
    return tl.load(positions_at(INPUT, at, FORM, n) + index, mask=is_position(at, index, n), other=0)


@triton.jit
def read_own(INPUT, at, FORM: tl.constexpr, index, n):
    """The entry of the query or of the key of a pair; any where there is none, of which every test is false.

    Loads with a mask wait for one another.
    """
    LENGTH: tl.constexpr = len(at)
    if LENGTH == 6 or INPUT.dtype.element_ty.primitive_bitwidth > 8:  # more entries at a time would not fit registers
        entry = read_position(INPUT, at, FORM, index, n)
    else:
        entry = tl.load(positions_at(INPUT, at, FORM, n) + tl.minimum(index, n - 1))
    return entry


@triton.jit
def is_listed(LIST, at, FORM: tl.constexpr, index):
    """Whether a list has an entry of that number."""
    return (index >= 0) & (index < tl.load(entries_at(LIST, at, FORM, 1 << (FORM // 4))))


@triton.jit
def read_listed(LIST, at, FORM: tl.constexpr, index):
    """The entry of a list of that number, 0 where there is none."""
    entries = entries_at(LIST, at, FORM, 1 << (FORM // 4))
    return tl.load(entries + 1 + index, mask=is_listed(LIST, at, FORM, index), other=0)


@triton.jit
def read_by_distance(INDEX: tl.constexpr, LIST, at, FORM: tl.constexpr, q, k):
    """The entry of a list for each pair of a tile, 0 where there is none; INDEX makes its number of q - k alone.

    Queries and keys stand side by side, each in as many positions as there are at most: so a tile has fewer distances
    than rows and columns.  Each is read once, and spread over its diagonal through shared memory.
    """
    distance = q - k
    ROOM: tl.constexpr = _power_of_two(q.numel + k.numel - 1)
    first = _least(q) - _least(k) - (k.numel - 1)
    entries = read_listed(LIST, at, FORM, INDEX(first + tl.arange(0, ROOM), 0))
    places = tl.reshape(distance - first, [distance.numel])
    return tl.reshape(tl.gather(entries, places, 0), distance.shape)


@triton.jit
def _least(x):
    return tl.min(tl.reshape(x, [x.numel]), 0)


@triton.constexpr_function
def _power_of_two(least):
    return 1 << (least - 1).bit_length()


@triton.jit
def read_pair(INPUT, at, FORM: tl.constexpr, row, column, n):
    """The entry of a query and a key, positions, 0 where there is none."""
    LENGTH: tl.constexpr = len(at)
    side, entries = n.to(tl.int64), n.to(tl.int64) * 0
    if LENGTH == 6:  # of one of several sequences
        side = at[5].to(tl.int64)
        entries = at[3] * (side + 1)
    entries += entries_at(INPUT, at, FORM, side * side)
    inside = is_position(at, row, n) & is_position(at, column, n)
    return tl.load(entries + (row * side + column), mask=inside, other=0)


@triton.jit
def last_up_to(SORTED, value, STEPS: tl.constexpr):
    """Where in a sorted list behind its length the last entry stands that is at most `value`; 0: there is none."""
    length = tl.load(SORTED)
    place = 0 * value
    for step in tl.static_range(STEPS):
        ahead = place + (1 << (STEPS - 1 - step))
        there = ahead <= length
        place = tl.where(there & (tl.load(SORTED + ahead, mask=there, other=0) <= value), ahead, place)
    return place


@triton.jit
def is_sorted(SORTED, at, FORM: tl.constexpr, value):
    """Whether a value is among the entries of a sorted list."""
    entries = entries_at(SORTED, at, FORM, 1 << (FORM // 4))
    place = last_up_to(entries, value, FORM // 4)
    return (place > 0) & (tl.load(entries + place, mask=place > 0, other=0) == value)


@triton.jit
def some_between(COUNTED, at, FORM: tl.constexpr, first, last):
    """Whether a list of which the entries are counted has one of the values first..last."""
    half: tl.constexpr = (1 << (FORM // 4)) // 2
    counts = entries_at(COUNTED, at, FORM, 1 << (FORM // 4))
    begin, end = first + half, last + 1 + half
    inside = (begin >= 0) & (begin <= end) & (end < 2 * half)
    less, up_to = tl.load(counts + begin, mask=inside, other=0), tl.load(counts + end, mask=inside, other=0)
    return up_to // 2 > less // 2


@triton.jit
def is_counted(COUNTED, at, FORM: tl.constexpr, value):
    """Whether a value is among the entries of a list that are counted."""
    place = value + (1 << (FORM // 4)) // 2
    inside = (place >= 0) & (place < (1 << (FORM // 4)))
    return tl.load(entries_at(COUNTED, at, FORM, 1 << (FORM // 4)) + place, mask=inside, other=0) % 2 == 1
