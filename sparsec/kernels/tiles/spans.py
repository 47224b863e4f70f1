"""Device functions: interval arithmetic on tiles, for conditions that read data of the call.

A span is the smallest and the largest value that an integer has in a tile, in 64 bits, and whether these are known to
hold: entries of inputs beyond 32 bits are compared, and not counted with.  A verdict says whether some pair of a tile
may be kept, and whether all pairs are; spans may be wider than the values, so what the first says need not be so.
Both are tensors: [tiles] of the side that a program goes over, [1] of its own.
"""

from __future__ import annotations

from sparsec.kernels.machine.device import floor_div, tl, triton
from sparsec.kernels.tiles.entries import entries_at, first_position_at, last_up_to, positions_at, some_between

_COUNTED = tl.constexpr(2147483647)  # entries of inputs up to this size take part in arithmetic
_ENTRIES_AT_ONCE = tl.constexpr(64)
_MOST_ENTRIES = tl.constexpr(4096)  # that are looked at


@triton.jit
def span(low, high):
    """The integers low..high, ends included: tensors, or numbers."""
    own = tl.zeros([1], tl.int64)
    return own + low, own + high, own == 0


@triton.jit
def counted(x):
    """The span of entries as a part of a sum."""
    return x[0], x[1], x[2] & (x[0] >= -_COUNTED) & (x[1] <= _COUNTED)


@triton.jit
def span_add(x, y):
    return x[0] + y[0], x[1] + y[1], x[2] & y[2]


@triton.jit
def span_sub(x, y):
    return x[0] - y[1], x[1] - y[0], x[2] & y[2]


@triton.jit
def span_mul(x, y):
    a, b, c, d = x[0] * y[0], x[0] * y[1], x[1] * y[0], x[1] * y[1]
    low, high = tl.minimum(tl.minimum(a, b), tl.minimum(c, d)), tl.maximum(tl.maximum(a, b), tl.maximum(c, d))
    return low, high, x[2] & y[2]


@triton.jit
def span_div(x, divisor):
    return floor_div(x[0], divisor), floor_div(x[1], divisor), x[2]


@triton.jit
def span_mod(x, divisor):
    first = floor_div(x[0], divisor)
    straight = first == floor_div(x[1], divisor)  # no multiple of the divisor lies between
    low, high = tl.where(straight, x[0] - first * divisor, 0), tl.where(straight, x[1] - first * divisor, divisor - 1)
    return low, high, x[2]


@triton.jit
def span_abs(x):
    return tl.maximum(tl.maximum(x[0], -x[1]), 0), tl.maximum(x[1], -x[0]), x[2]


@triton.jit
def span_min(x, y):
    return tl.minimum(x[0], y[0]), tl.minimum(x[1], y[1]), x[2] & y[2]


@triton.jit
def span_max(x, y):
    return tl.maximum(x[0], y[0]), tl.maximum(x[1], y[1]), x[2] & y[2]


# ---------------------------------------------------------------- verdicts


@triton.jit
def verdict(some, every):
    return tl.cast(some, tl.int1), tl.cast(every, tl.int1)


@triton.jit
def verdict_and(x, y):
    return x[0] & y[0], x[1] & y[1]


@triton.jit
def verdict_or(x, y):
    return x[0] | y[0], x[1] | y[1]


@triton.jit
def verdict_not(x):
    return x[1] == 0, x[0] == 0


@triton.jit
def judged(x, tests):
    """A verdict, and whether no test of data holds for any pair."""
    return x[0], x[1], tests[0] == 0


@triton.jit
def span_less(x, y):
    """x < y."""
    known = x[2] & y[2]
    return (x[0] < y[1]) | (known == 0), (x[1] < y[0]) & known


@triton.jit
def span_equal(x, y):
    """x == y."""
    known = x[2] & y[2]
    some = (x[0] <= y[1]) & (y[0] <= x[1])
    return some | (known == 0), (x[0] == x[1]) & (y[0] == y[1]) & (x[0] == y[0]) & known


# ---------------------------------------------------------------- entries: a span, then whether some index of a tile is
#                                                                  inside, and whether all are


@triton.jit
def span_of_number(INPUT, at, FORM: tl.constexpr):
    """The number of a row and a head."""
    x = tl.load(entries_at(INPUT, at, FORM, 1)) + tl.zeros([1], tl.int64)
    return x, x, x == x, x == x, x == x


@triton.jit
def span_of_positions(INPUT, at, FORM: tl.constexpr, index, n):
    """The entries of the positions of a span."""
    LENGTH: tl.constexpr = len(at)
    return _span_of(positions_at(INPUT, at, FORM, n), index, first_position_at(at), n, LENGTH != 6)


@triton.jit
def span_of_listed(LIST, at, FORM: tl.constexpr, index):
    """The entries of a list whose numbers are a span."""
    entries = entries_at(LIST, at, FORM, 1 << (FORM // 4))
    return _span_of(entries + 1, index, 0, tl.load(entries), False)


@triton.jit
def _span_of(ENTRIES, index, first_there, length, EVEN: tl.constexpr):
    """Of the entries first_there .. length - 1 those at the indices of spans; of many, anything.

    EVEN: spans mostly begin where a thread can load several entries at once.
    """
    least: tl.constexpr = -9223372036854775808
    most: tl.constexpr = 9223372036854775807
    first, last = tl.maximum(index[0], first_there), tl.minimum(index[1], length - 1)
    few = index[2] & (last - first < _MOST_ENTRIES)
    count = tl.where(few, last + 1 - first, 0)
    low, high = tl.full(first.shape, most, tl.int64), tl.full(first.shape, least, tl.int64)
    in_rows = 0 * count
    if EVEN:
        IN_ROWS: tl.constexpr = 1024 // max(ENTRIES.dtype.element_ty.primitive_bitwidth, 16)  # as registers hold
        even = (first % 16 == 0) & (ENTRIES.to(tl.int64) % 16 == 0)
        in_rows = tl.where(even, count // IN_ROWS * IN_ROWS, 0)
        for begin in range(0, tl.max(in_rows, 0), IN_ROWS):
            there = begin < in_rows
            place = tl.multiple_of(tl.where(there, first, 0), 16)[:, None] + (begin + tl.arange(0, IN_ROWS))[None, :]
            x = tl.load(tl.multiple_of(ENTRIES, 16) + place, mask=there[:, None], other=0)
            low = tl.minimum(low, tl.where(there, tl.min(x, 1).to(tl.int64), most))
            high = tl.maximum(high, tl.where(there, tl.max(x, 1).to(tl.int64), least))
    most_count = tl.max(tl.where(in_rows < count, count, 0), 0)
    for begin in range(0, most_count, _ENTRIES_AT_ONCE):
        there = (begin + _ENTRIES_AT_ONCE > in_rows) & (begin < count)
        place = begin + tl.arange(0, _ENTRIES_AT_ONCE)[None, :]
        last_place = tl.maximum(count - 1, 0)[:, None]  # the last entry again and again, where there are no more
        x = tl.load(ENTRIES + first[:, None] + tl.minimum(place, last_place), mask=there[:, None], other=0)
        low = tl.minimum(low, tl.where(there, tl.min(x, 1).to(tl.int64), most))
        high = tl.maximum(high, tl.where(there, tl.max(x, 1).to(tl.int64), least))
    some = (first <= last) | (index[2] == 0)
    every = index[2] & (index[0] >= first_there) & (index[1] < length)
    return tl.where(few, low, least), tl.where(few, high, most), few | (few == 0), some, every


@triton.jit
def where_inside(x, test):
    """A test of an entry, which is false where there is none."""
    return test[0] & x[3], test[1] & x[4]


@triton.jit
def some_sorted(SORTED, at, FORM: tl.constexpr, value):
    """Whether a value is among the entries of a sorted list."""
    entries = entries_at(SORTED, at, FORM, 1 << (FORM // 4))
    place = last_up_to(entries, value[1], FORM // 4)
    some = (place > 0) & (tl.load(entries + place, mask=place > 0, other=0) >= value[0])
    return some | (value[2] == 0), some & (value[0] == value[1]) & value[2]


@triton.jit
def some_counted(COUNTED, at, FORM: tl.constexpr, value):
    """Whether a value is among the entries of a list that are counted."""
    some = some_between(COUNTED, at, FORM, value[0], value[1])
    return some | (value[2] == 0), some & (value[0] == value[1]) & value[2]
