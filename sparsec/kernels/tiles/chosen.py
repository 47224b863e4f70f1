"""Device functions and a kernel: sets that are chosen by content, as lists of blocks of keys, or as labels of tokens.

Lists come in two forms: as bits, one for each block of keys, or as sorted entries where these take less room.  CHOSEN
answers for one query.  UNITED answers for tiles: a line of it has what some of a few lists name, as bits for small
blocks together.

UNITED is contiguous, [B, G, lists, words], G being 1, the key heads or the query heads, and so is CHOSEN, but for bits:
[B, G, words, lists], since kernels ask many lists about few blocks.  FORM says how, in one number:
1 where there are rows of the batch, 2 where there are several G, 4 times what follows: 0 for bits, 1 more than the
binary logarithm of a row of sorted entries, and from 32 on G.  LABELS are contiguous, [B, H, lines, n_q + n],
the labels of queries and then those of keys; FORM is 1 and 2 likewise, and 4 times the lines.

`at`: the row of the batch and the query head of a pair,
how many heads there are, the position of the first query, how many queries; where the keys of a tile stand side by side
also the first of them, and how many these are.
"""

from __future__ import annotations

from sparsec.kernels.machine.device import tl, triton

SMALL, QUERIES_OF_LINE = 16, 64  # UNITED has a line of bits for a larger block of queries, or for so many rows of Q
EACH_LIST = 128  # rows of Q of a query, at most; as `at` ends with it, UNITED has a line for each list
_SMALL, _QUERIES_OF_LINE = tl.constexpr(SMALL), tl.constexpr(QUERIES_OF_LINE)
_MOST_QUERIES = tl.constexpr(EACH_LIST)  # of a tile
_FAR = tl.constexpr(1 << 30)  # no number of a chunk is so large
BEHIND = (1 << 31) - 1  # no block has this number
_NO_CHOICE = tl.constexpr(BEHIND)


@triton.jit
def _first_list(at, FORM: tl.constexpr, lists):
    """The number of the first list of a row of the batch and a head, of which each has so many."""
    groups: tl.constexpr = FORM // 128
    line = tl.cast(0, tl.int64)
    if FORM % 2 == 1:
        line += at[0] * groups
    if FORM // 2 % 2 == 1:
        line += at[1] * groups // at[2]
    return line * lists


@triton.jit
def is_chosen(CHOSEN, at, FORM: tl.constexpr, q, k, n, ROWS: tl.constexpr, SIZE: tl.constexpr):
    """Whether the list of the query names the block of the key: blocks of ROWS queries and of SIZE keys."""
    lists = tl.cdiv(at[4], ROWS)
    own, block = (q - at[3]) // ROWS, k // SIZE
    there = (q >= at[3]) & (own < lists) & (k < n)
    line = _first_list(at, FORM, lists)
    LEVELS: tl.constexpr = FORM // 4 % 32
    if LEVELS == 0:
        words = tl.cdiv(tl.cdiv(n, SIZE), 32)
        own_bits = CHOSEN + line * words + own
        LENGTH: tl.constexpr = len(at)
        if LENGTH == 7:  # keys side by side from at[5] on; a constant in `at` would be one no more
            KEYS: tl.constexpr = k.shape[0] * k.shape[1]  # the interpreter divides constants by constants alone
            held = _bit(own_bits, own, lists, block, words, there, at[5], KEYS, 0 * KEYS + SIZE)
        else:
            held = _bit(own_bits, own, lists, block, words, there, None, 1, SIZE)
    else:
        begin = CHOSEN + (line + own) * (1 << (LEVELS - 1))
        place = 0 * (own + block) - 1  # of the last entry that is seen to be at most `block`
        for level in tl.static_range(LEVELS):
            ahead = place + (1 << (LEVELS - 1 - level))
            inside = there & (ahead < (1 << (LEVELS - 1)))
            place = tl.where(inside & (tl.load(begin + ahead, mask=inside, other=0) <= block), ahead, place)
        held = (place >= 0) & (tl.load(begin + place, mask=place >= 0, other=-1) == block)
    return held


@triton.jit
def _bit(BITS, own, lists, block, words, there, k_first, KEYS: tl.constexpr, SIZE: tl.constexpr):
    """The bit of each query's list, whose words begin at BITS, for each key's block.

    `k_first`: the first of KEYS keys that stand side by side, a multiple of KEYS; None: they stand anywhere.
    """
    if k_first is None:  # a word for each pair
        word = tl.load(BITS + tl.cast(block // 32, tl.int64) * lists, mask=there, other=0)
        bit = word >> (block % 32)
    else:  # a word or a few for each query
        first = k_first // SIZE
        rows = (own >= 0) & (own < lists)
        word = tl.load(BITS + tl.cast(first // 32, tl.int64) * lists, mask=rows, other=0)
        if SIZE % KEYS == 0:
            bit = word >> (first % 32)
        else:
            ALIGNED: tl.constexpr = KEYS % SIZE == 0
            BLOCKS: tl.constexpr = KEYS // SIZE if ALIGNED else (KEYS - 2) // SIZE + 2
            WITHIN: tl.constexpr = ALIGNED and 32 * SIZE % KEYS == 0
            WORDS: tl.constexpr = (
                1 if WITHIN else BLOCKS // 32 if BLOCKS % 32 == 0 and ALIGNED else (BLOCKS - 2) // 32 + 2
            )
            for number in tl.static_range(1, WORDS):
                other = first // 32 + number + 0 * own
                more = tl.load(BITS + tl.cast(other, tl.int64) * lists, mask=rows & (other < words), other=0)
                word = tl.where(block // 32 == other, more, word)
            bit = word >> (block % 32)
    return (bit & 1 == 1) & there


@triton.jit
def is_in_group_of(LABELS, at, FORM: tl.constexpr, q, k, n, NEAR: tl.constexpr):
    """Whether labels put the query and the key together.

    NEAR: in some line the key's label is that of the query or one less; otherwise they have a bit in common in one.
    """
    LINES: tl.constexpr = FORM // 4
    own, queries = q - at[3], at[4]
    asked, there = (own >= 0) & (own < queries), (k >= 0) & (k < n)
    line = tl.cast(0, tl.int64)
    if FORM % 2 == 1:
        line += at[0]
    if FORM // 2 % 2 == 1:
        line = line * at[2] + at[1]
    begin = LABELS + line * LINES * (queries + n)
    if NEAR:  # one subtraction and one minimum for each pair and line; who is not there is far behind, or far ahead
        least = tl.full([1, 1], 2, tl.uint32)
        for _ in tl.static_range(LINES):
            x = tl.load(begin + own, mask=asked, other=-_FAR)
            y = tl.load(begin + queries + k, mask=there, other=_FAR)
            least = tl.minimum(least, (x - y).to(tl.int32).to(tl.uint32, bitcast=True))
            begin += queries + n
        found = least < 2
    else:
        common = tl.zeros([1, 1], tl.int32)
        for _ in tl.static_range(LINES):
            x, y = tl.load(begin + own, mask=asked, other=0), tl.load(begin + queries + k, mask=there, other=0)
            common = common | (x & y)
            begin += queries + n
        found = common != 0
    return found


@triton.jit
def some_chosen(UNITED, at, FORM: tl.constexpr, q, k, n, ROWS: tl.constexpr, SIZE: tl.constexpr):
    """Whether some list of a tile of queries names a block of a tile of keys, spans both; and whether all name all.

    `at` ends with the number of heads that stand side by side in Q, or with EACH_LIST.
    """
    LINE: tl.constexpr = _QUERIES_OF_LINE // at[5]
    LISTS: tl.constexpr = 1 if ROWS >= _SMALL or ROWS >= LINE else (LINE + ROWS - 1) // ROWS  # of a line of bits
    QUERIES: tl.constexpr = LISTS * ROWS
    MOST: tl.constexpr = _MOST_QUERIES // at[5]
    LINES: tl.constexpr = MOST // QUERIES if MOST % QUERIES == 0 else (MOST - 2) // QUERIES + 2
    lines = tl.cdiv(tl.cdiv(at[4], ROWS), LISTS)
    first, last = (q[0] - at[3]) // QUERIES, (q[1] - at[3]) // QUERIES
    begin = _first_list(at, FORM, lines) + first
    if FORM // 4 % 32 == 0:
        EACH: tl.constexpr = at[5] == _MOST_QUERIES
        some, every = _some_bits(UNITED, begin, first, lines, last - first, k, n, LINES, SIZE, EACH)
    else:
        some, every = _some_entries(UNITED, begin, last - first, k, FORM // 4 % 32, LINES, SIZE)
    if LISTS > 1:
        every = every & (first < 0)
    return some, every


@triton.jit
def _some_bits(UNITED, line, first, lines, more, k, n, LINES: tl.constexpr, SIZE: tl.constexpr, EACH: tl.constexpr):
    """The same of bits: of a line, number `first` of so many, and of so many more.  EACH: they lie as CHOSEN does."""
    KEYS: tl.constexpr = (_SMALL + SIZE - 1) // SIZE * SIZE  # that share a bit
    words = tl.cdiv(tl.cdiv(n, KEYS), 32)
    begin, count = k[0] // KEYS, k[1] // KEYS - k[0] // KEYS + 1
    wanted = (tl.cast(1, tl.int64) << count) - 1
    word = begin // 32
    some, every = count < 0, count > 0
    for number in tl.static_range(LINES):
        there = (number <= more) & (word < words)
        crosses = there & (word + 1 < words) & (begin % 32 + count > 32)
        if EACH:
            own = UNITED + (line - first) * words + tl.cast(word, tl.int64) * lines + (first + number)
            low, high = tl.load(own, mask=there, other=0), tl.load(own + lines, mask=crosses, other=0)
        else:
            own = UNITED + (line + number) * words + word
            low, high = tl.load(own, mask=there, other=0), tl.load(own + 1, mask=crosses, other=0)
        low, high = low.to(tl.int64) & 0xFFFFFFFF, high.to(tl.int64) & 0xFFFFFFFF
        bits = ((low | (high << 32)) >> (begin % 32)) & wanted
        some = some | (bits != 0)
        every = every & ((bits == wanted) | (number > more))
    if KEYS > SIZE:
        every = every & (count < 0)
    return some, every


@triton.jit
def _some_entries(UNITED, line, more, k, LEVELS: tl.constexpr, LINES: tl.constexpr, SIZE: tl.constexpr):
    """The same of sorted entries, of which a line has 2 ** (LEVELS - 1)."""
    LENGTH: tl.constexpr = 1 << (LEVELS - 1)
    first, last = k[0] // SIZE, k[1] // SIZE
    some, every = first < 0, first == last  # entries may say one block twice, so several are not counted
    for number in tl.static_range(LINES):
        there = (number <= more) & (first >= 0)
        begin = UNITED + (line + number) * LENGTH
        place = 0 * (first + more)  # how many entries are seen to be less than `first`
        for level in tl.static_range(LEVELS):
            ahead = place + (1 << (LEVELS - 1 - level))
            inside = there & (ahead <= LENGTH)
            place = tl.where(inside & (tl.load(begin + ahead - 1, mask=inside, other=0) < first), ahead, place)
        inside = there & (place < LENGTH)
        found = inside & (tl.load(begin + place, mask=inside, other=_NO_CHOICE) <= last)
        some = some | found
        every = every & (found | (number > more))
    return some, every


@triton.jit(do_not_specialize=["every_list", "listed", "lists", "blocks", "words", "lines", "united_words"])
def mark_chosen(
    LISTS, CHOSEN, UNITED, every_list, listed, lists, blocks, words, lines, united_words,
    LISTS_OF_LINE: tl.constexpr, BLOCKS_OF_BIT: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """Sets the bits of LISTS [.., lists, listed] in CHOSEN and UNITED, which begin as zeros.

    `every_list`: how many lists there are in all.  The order in which bits are set decides nothing.
    """
    number = tl.cast(tl.program_id(0), tl.int64) * AT_ONCE + tl.arange(0, AT_ONCE)
    block = tl.load(LISTS + number, mask=number < tl.cast(every_list, tl.int64) * listed, other=-1)
    there = (block >= 0) & (block < blocks)
    block = tl.where(there, block, 0).to(tl.int32)
    own = number // listed
    one = tl.full([AT_ONCE], 1, tl.int32)
    place = (own // lists * words + block // 32) * lists + own % lists
    tl.atomic_or(CHOSEN + place, one << (block % 32), mask=there, sem="relaxed")
    bit = block // BLOCKS_OF_BIT
    line = own // lists * lines + own % lists // LISTS_OF_LINE
    tl.atomic_or(UNITED + line * united_words + bit // 32, one << (bit % 32), mask=there, sem="relaxed")
