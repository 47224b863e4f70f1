"""Device functions: which weights of a tile dropout keeps.

A query has a random word: the one that Philox (Salmon et al., 2011) makes of the seed, the query's position, its head
and the number of its sequence.  A pair is kept where a hash of its key's position and this word is large enough.  So a
pair has the same answer in every kernel, whatever tile it is in.

The hash is made in two steps, so that a pair costs few instructions: the first one is the same for four keys, those
whose positions differ in 8 and 16 alone, which a thread of a tensor core's product has together; the second is one
product, by a factor for each of the four.  `sparsec.kernels.weights.dropout` has the same in torch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sparsec.kernels.machine.device import tl, triton

KEY_STEP = tl.constexpr(0x61C88647)
MIX = tl.constexpr(0x21F0AAAD)  # by C. Wellons, as in `sparsec.ir.random`
# Of the four keys.  For whichever of them, multiples of a number lie evenly in a square, a cube, ..: no combination of
# these factors by small integers is 0 modulo 2**32.
FACTOR_0, FACTOR_1 = tl.constexpr(0x30140365), tl.constexpr(0x606D6107)
FACTOR_2, FACTOR_3 = tl.constexpr(0x7DB83D2D), tl.constexpr(0x6856737F)


class Dropping(NamedTuple):
    """Dropout of a call."""

    STREAMS: Any = None  # int64 [sequences, 2]: the seed, and the number of the sequence; None: nothing is dropped
    drop_below: Any = None  # hashes, as signed integers
    kept_share: Any = None  # of the weights


@triton.jit
def row_words(dropping, stream, q, head):
    """A word for each query at positions q of a head; `stream`: the line of its sequence in STREAMS."""
    line = dropping.STREAMS + stream * 2
    zero = q * 0
    number = zero + tl.load(line + 1).to(tl.int32)
    words, _, _, _ = tl.philox(tl.load(line), q, zero + head, number, zero)
    return words


@triton.jit
def kept_by_hash(words, k, place, drop_below, SIDE_BY_SIDE: tl.constexpr, BLOCK: tl.constexpr, BY_QUERY: tl.constexpr):
    """Whether pairs of queries with such words and of keys at BLOCK positions k are kept, as of `hash_of_pairs`."""
    return hash_of_pairs(words, k, place, SIDE_BY_SIDE, BLOCK, BY_QUERY) >= drop_below


@triton.jit
def hash_of_pairs(words, k, place, SIDE_BY_SIDE: tl.constexpr, BLOCK: tl.constexpr, BY_QUERY: tl.constexpr):
    """A number, signed, for each pair of queries with such words and of keys at BLOCK positions k.

    SIDE_BY_SIDE: k are numbers from 0 on of keys that follow one another from position `place` on, a multiple of BLOCK,
    which is one of 32.  BY_QUERY: rows are queries.
    """
    bits = k.to(tl.uint32, bitcast=True)
    if SIDE_BY_SIDE:
        # Written so that LLVM sees for which keys of a thread the first step is the same.
        start = place.to(tl.uint32, bitcast=True)
        if BY_QUERY:
            group = (bits + 32 - (bits & 24)) * KEY_STEP + (start - 32) * KEY_STEP
        else:
            group = (bits & 0xFFFFFFE7) * KEY_STEP + start * KEY_STEP
    else:
        group = (bits & 0xFFFFFFE7) * KEY_STEP
    odd = tl.where(bits & 16 != 0, FACTOR_3, FACTOR_1)
    factor = tl.where(bits & 8 != 0, odd, tl.where(bits & 16 != 0, FACTOR_2, FACTOR_0)).to(tl.uint32, bitcast=True)
    if BY_QUERY:
        x = _first_step(group[None, :], words[:, None]) * factor[None, :]
    else:
        x = _first_step(group[:, None], words[None, :]) * factor[:, None]
    return x.to(tl.int32, bitcast=True)


@triton.jit
def _first_step(group, word):
    x = group + word
    x = (x ^ (x >> 16)) * MIX
    return x ^ (x >> 15) ^ word


@triton.jit
def store_words(ptrs, words, mask=None):
    """Stores the words of rows among float32 numbers, as bits."""
    tl.store(ptrs, words.to(tl.float32, bitcast=True), mask=mask)
