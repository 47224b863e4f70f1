"""A kernel for clusters: it finds the tokens with the largest scores of each, and marks them in labels."""

from __future__ import annotations

from sparsec.kernels.device import tl, triton


@triton.jit
def codes_of(SCORES, token, there):
    """Unsigned integers that rise as float32 scores do; -0.0 is 0.0."""
    scores = tl.load(SCORES + token, mask=there, other=0.0)
    bits = tl.where(scores == 0.0, 0.0, scores).to(tl.int32, bitcast=True)
    return tl.where(bits < 0, ~bits, bits | -(1 << 31)).to(tl.uint32, bitcast=True)


@triton.jit
def with_a_digit_more(SCORES, tokens, above, wanted, SHIFT: tl.constexpr, BLOCK: tl.constexpr):
    """The `wanted`-th largest code of those that are `above` at SHIFT + 8, down to SHIFT, and which largest of these it
    is.
    """
    counts = tl.zeros([256], tl.int32)  # of codes by their digit
    for begin in range(0, tokens, BLOCK):
        token = begin + tl.arange(0, BLOCK)
        codes = codes_of(SCORES, token, token < tokens)
        alike = (token < tokens) & ((codes >> SHIFT >> 8).to(tl.int32) == above)
        if tl.max(alike.to(tl.int32), 0) != 0:  # of low digits few blocks have any
            counts += tl.histogram((codes >> SHIFT & 255).to(tl.int32), 256, mask=alike)
    larger = tl.sum(counts, 0) - tl.cumsum(counts, 0)
    own = (larger < wanted) & (larger + counts >= wanted)
    digit = tl.sum(tl.where(own, tl.arange(0, 256), 0), 0)
    return above << 8 | digit, wanted - tl.sum(tl.where(own, larger, 0), 0)


@triton.jit(do_not_specialize=["tokens", "clusters", "first", "taken", "lines"])
def mark_members(SCORES, LABELS, tokens, clusters, first, taken, lines, BLOCK: tl.constexpr):
    """Sets the bit of a cluster in LABELS int32 [B * heads, lines, tokens] for the `taken` tokens with the largest of
    SCORES float32 [B * heads, clusters, tokens], ties to the lowest position.  `first`: the number of the first of
    these clusters.
    """
    cluster, bh = tl.program_id(0), tl.program_id(1).to(tl.int64)
    scores = SCORES + (bh * clusters + cluster) * tokens
    above, wanted = with_a_digit_more(scores, tokens, 0, taken, 24, BLOCK)
    above, wanted = with_a_digit_more(scores, tokens, above, wanted, 16, BLOCK)
    above, wanted = with_a_digit_more(scores, tokens, above, wanted, 8, BLOCK)
    above, wanted = with_a_digit_more(scores, tokens, above, wanted, 0, BLOCK)
    least = above.to(tl.uint32, bitcast=True)  # the code of the last member
    line, bit = (first + cluster) // 32, tl.full([BLOCK], 1, tl.int32) << (first + cluster) % 32
    labels = LABELS + (bh * lines + line) * tokens
    ties = 0
    for begin in range(0, tokens, BLOCK):
        token = begin + tl.arange(0, BLOCK)
        codes = codes_of(scores, token, token < tokens)
        member = (token < tokens) & (codes > least)
        tie = ((token < tokens) & (codes == least)).to(tl.int32)
        if tl.max(tie, 0) != 0:
            member = member | ((tie != 0) & (ties + tl.cumsum(tie, 0) <= wanted))
            ties += tl.sum(tie, 0)
        tl.atomic_or(labels + token, bit, mask=member, sem="relaxed")  # in any order: the result is the same
