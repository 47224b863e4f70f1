"""Device functions: which tiles a program works on, and which it visits."""

from __future__ import annotations

from sparsec.kernels.machine.device import tl, triton

# ---------------------------------------------------------------- ranges of tiles


@triton.jit
def tile_range(first, stop, length, BLOCK: tl.constexpr):
    """Tiles begin..end of the positions first..stop of a sequence, both half open; 0..0 where there are none."""
    first, stop = tl.maximum(first, 0), tl.minimum(stop, length)
    some = first < stop
    return tl.where(some, first // BLOCK, 0), tl.where(some, tl.cdiv(stop, BLOCK), 0)


@triton.jit
def after_range(done, begin, end):
    """begin..end without the tiles that earlier ranges have visited."""
    begin = tl.maximum(begin, done)
    return begin, tl.maximum(begin, end)


@triton.jit
def ordered_ranges(begin_a, end_a, begin_b, end_b):
    """Two ranges, the one that begins first before the other."""
    swap = begin_b < begin_a
    return (
        tl.where(swap, begin_b, begin_a),
        tl.where(swap, end_b, end_a),
        tl.where(swap, begin_a, begin_b),
        tl.where(swap, end_a, end_b),
    )


# ---------------------------------------------------------------- the tiles of a program


@triton.jit
def residue_tile(stride: tl.constexpr, TOGETHER: tl.constexpr, LONGEST_LAST: tl.constexpr):
    """The residue class of a program, and which of its tiles; where later ones have more to do, they start first.

    TOGETHER classes take turns, then the next: tiles of a class share what they load while the cache holds it, and
    those with much to do run beside others with little.
    """
    tiles = tl.num_programs(0) // stride
    place = tl.program_id(0) % (TOGETHER * tiles)
    residue = tl.program_id(0) // (TOGETHER * tiles) * TOGETHER + place % TOGETHER
    tile = place // TOGETHER
    return residue, tiles - 1 - tile if LONGEST_LAST else tile


@triton.jit
def split_first(split_tiles, splits):
    """This program's tile; whether programs split it, this one's number among them, and how many they are.

    The first tiles have far more to do than others: `splits` programs each, which start before all others.
    """
    program = tl.program_id(0)
    split = program < split_tiles * splits
    tile = tl.where(split, program // splits, program - split_tiles * (splits - 1))
    return tile, split, tl.where(split, program % splits, 0), tl.where(split, splits, 1)


@triton.jit
def split_steps(steps, part, parts):
    """begin..end of one part of the steps; parts differ by one step at most."""
    begin = steps // parts * part + tl.minimum(steps % parts, part)
    return begin, begin + steps // parts + tl.where(part < steps % parts, 1, 0)
