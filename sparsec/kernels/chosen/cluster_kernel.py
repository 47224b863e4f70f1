"""A kernel for clusters: it finds the tokens with the largest scores of each, and marks them in labels."""

from __future__ import annotations

from sparsec.kernels.machine.device import tl, triton


@triton.jit
def codes_of(SCORES, token, there):
    """Unsigned integers that rise as float32 scores do; -0.0 is 0.0."""
    scores = tl.load(SCORES + token, mask=there, other=0.0)
    bits = tl.where(scores == 0.0, 0.0, scores).to(tl.int32, bitcast=True)
    return tl.where(bits < 0, ~bits, bits | -(1 << 31)).to(tl.uint32, bitcast=True)


@triton.jit
def _narrowed(counts, above, wanted):
    """The digit of the `wanted`-th largest of counted codes behind those `above`, and which largest of these it is."""
    larger = tl.sum(counts, 0) - tl.cumsum(counts, 0)
    own = (larger < wanted) & (larger + counts >= wanted)
    digit = tl.sum(tl.where(own, tl.arange(0, 256), 0), 0)
    return above << 8 | digit, wanted - tl.sum(tl.where(own, larger, 0), 0)


@triton.jit
def _digits_of(codes, there, above, SHIFT: tl.constexpr):
    """How many codes that are `above` at SHIFT + 8 have each digit at SHIFT."""
    alike = there & ((codes >> SHIFT >> 8).to(tl.int32) == above)
    return tl.histogram((codes >> SHIFT & 255).to(tl.int32), 256, mask=alike)


@triton.jit
def with_a_digit_more(SCORES, tokens, above, wanted, SHIFT: tl.constexpr, BLOCK: tl.constexpr):
    """The `wanted`-th largest code of those that are `above` at SHIFT + 8, down to SHIFT, and which largest of these it
    is.
    """
    counts = tl.zeros([256], tl.int32)  # of codes by their digit
    for begin in range(0, tokens, BLOCK):
        token = begin + tl.arange(0, BLOCK)
        there = token < tokens
        codes = codes_of(SCORES, token, there)
        if (
            tl.max((there & ((codes >> SHIFT >> 8).to(tl.int32) == above)).to(tl.int32), 0) != 0
        ):  # seldom, of low digits
            counts += _digits_of(codes, there, above, SHIFT)
    return _narrowed(counts, above, wanted)


@triton.jit
def _largest(codes, there, wanted):
    """The `wanted`-th largest of codes, and which largest of equal ones it is."""
    above, wanted = _narrowed(_digits_of(codes, there, 0, 24), 0, wanted)
    above, wanted = _narrowed(_digits_of(codes, there, above, 16), above, wanted)
    above, wanted = _narrowed(_digits_of(codes, there, above, 8), above, wanted)
    above, wanted = _narrowed(_digits_of(codes, there, above, 0), above, wanted)
    return above.to(tl.uint32, bitcast=True), wanted


@triton.jit
def _list_candidates(SCORES, CODES, TOKENS, tokens, taken, ROOM: tl.constexpr, ROWS: tl.constexpr):
    """How many tokens may be among the `taken` with the largest codes; CODES and TOKENS list the first ROOM of them, by
    position.

    Of tokens i, i + ROOM, .. the largest code: `taken` of these codes are at least the `taken`-th largest of them, of
    which the lowest digit is left out.  ROWS * ROOM tokens are looked at together, so that loads wait side by side.
    """
    lane = tl.arange(0, ROOM)
    column = tl.arange(0, ROWS)[:, None] * ROOM + lane[None, :]
    best = tl.zeros([ROOM], tl.uint32)
    for begin in range(0, tokens, ROWS * ROOM):
        there = begin + column < tokens
        best = tl.maximum(best, tl.max(tl.where(there, codes_of(SCORES, begin + column, there), 0), 0))
    above, wanted = _narrowed(_digits_of(best, lane >= 0, 0, 24), 0, taken)
    above, wanted = _narrowed(_digits_of(best, lane >= 0, above, 16), above, wanted)
    above, wanted = _narrowed(_digits_of(best, lane >= 0, above, 8), above, wanted)
    least = above.to(tl.uint32, bitcast=True) << 8
    count = 0
    place_of_tile = tl.arange(0, ROWS * ROOM)
    for begin in range(0, tokens, ROWS * ROOM):
        token = begin + place_of_tile
        codes = codes_of(SCORES, token, token < tokens)
        candidate = ((token < tokens) & (codes >= least)).to(tl.int32)
        found = tl.sum(candidate, 0)
        if found != 0:
            place = count + tl.cumsum(candidate, 0) - 1
            kept = (candidate != 0) & (place < ROOM)
            tl.store(CODES + place, codes.to(tl.int32, bitcast=True), mask=kept)
            tl.store(TOKENS + place, token, mask=kept)
            count += found
    return count


@triton.jit(do_not_specialize=["tokens", "clusters", "first", "taken", "lines"])
def mark_members(
    SCORES, LABELS, CANDIDATES, tokens, clusters, first, taken, lines,
    BLOCK: tl.constexpr, ROOM: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Sets the bit of a cluster in LABELS int32 [B * heads, lines, tokens] for the `taken` tokens with the largest of
    SCORES float32 [B * heads, clusters, tokens], ties to the lowest position.  `first`: the number of the first of
    these clusters.

    CANDIDATES int32 [B * heads, clusters, 2, ROOM]: where few tokens are taken, others are looked at twice and the
    candidates more often; None: scores are read for each digit.
    """
    cluster, bh = tl.program_id(0), tl.program_id(1).to(tl.int64)
    scores = SCORES + (bh * clusters + cluster) * tokens
    line, bit = (first + cluster) // 32, (first + cluster) % 32
    labels = LABELS + (bh * lines + line) * tokens
    count = ROOM + 1
    if CANDIDATES is not None:
        own = CANDIDATES + (bh * clusters + cluster) * (2 * ROOM)
        count = _list_candidates(scores, own, own + ROOM, tokens, taken, ROOM, ROWS)
        if count <= ROOM:
            tl.debug_barrier()  # what other threads of the program have listed
            lane = tl.arange(0, ROOM)
            codes = tl.load(own + lane, mask=lane < count, other=0).to(tl.uint32, bitcast=True)
            token = tl.load(own + ROOM + lane, mask=lane < count, other=0)
            least, wanted = _largest(codes, lane < count, taken)
            tie = ((codes == least) & (lane < count)).to(tl.int32)
            member = ((codes > least) & (lane < count)) | ((tie != 0) & (tl.cumsum(tie, 0) <= wanted))
            tl.atomic_or(labels + token, tl.full([ROOM], 1, tl.int32) << bit, mask=member, sem="relaxed")
    if count > ROOM:
        _mark_of_all(scores, labels, bit, tokens, taken, BLOCK)


@triton.jit
def _mark_of_all(scores, labels, bit, tokens, taken, BLOCK: tl.constexpr):
    """Marks members among all tokens."""
    above, wanted = with_a_digit_more(scores, tokens, 0, taken, 24, BLOCK)
    above, wanted = with_a_digit_more(scores, tokens, above, wanted, 16, BLOCK)
    above, wanted = with_a_digit_more(scores, tokens, above, wanted, 8, BLOCK)
    above, wanted = with_a_digit_more(scores, tokens, above, wanted, 0, BLOCK)
    least = above.to(tl.uint32, bitcast=True)  # the code of the last member
    ties = 0
    for begin in range(0, tokens, BLOCK):
        token = begin + tl.arange(0, BLOCK)
        codes = codes_of(scores, token, token < tokens)
        member = (token < tokens) & (codes > least)
        tie = ((token < tokens) & (codes == least)).to(tl.int32)
        if tl.max(tie, 0) != 0:
            member = member | ((tie != 0) & (ties + tl.cumsum(tie, 0) <= wanted))
            ties += tl.sum(tie, 0)
        # in any order: the result is the same
        tl.atomic_or(labels + token, tl.full([BLOCK], 1, tl.int32) << bit, mask=member, sem="relaxed")
