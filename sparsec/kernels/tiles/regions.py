"""Device functions: what a program goes over in a region of the pattern, step by step, and which scores it masks.

KEEP, FULL, KEYS, QUERIES and those of scores are functions of a generated module, which say what its pattern decides;
None where nothing is to be asked.  They take NUMBERS besides where heads share them that differ in integers, and KEEP
takes the tensors that it reads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sparsec.kernels.machine.device import tl, triton
from sparsec.kernels.tiles.loads import gathered_key, in_mask
from sparsec.kernels.tiles.shares import line_of


class Rules(NamedTuple):
    """What the pattern says about a region."""

    KEEP: Any  # which pairs are kept; None: all that are visited, or lists say it
    FULL: Any  # which tiles are kept whole; None: nobody knows
    VISITS: Any  # KEYS or QUERIES; None: no ranges of tiles
    NUMBERS: Any
    INPUTS: Any = None  # data of the call that KEEP reads
    FORMS: Any = None  # how they lie: `sparsec.kernels.tiles.entries`
    TABLES: Any = None  # that KEEP reads
    WHOLE: Any = False  # every tile that is visited is kept whole
    LISTS_FILL: Any = False  # lists say which of their tiles are kept whole
    SCORE: Any = None  # what becomes of scaled products; None: they are the scores
    SCORE_GRADIENT: Any = None  # None: it is 1
    GATHERED: Any = False  # the keys of a program are
    NEAR: Any = False  # positions are below 2**22 (`real_distance`)
    TILT: Any = None  # by how much a score rises from key to key, besides SCORE; None: SCORE says all
    WEIGHT: Any = None  # the softmax's weight without a maximum, in the place of SCORE; None: it may overflow
    EXPONENT_AND_SLOPE: Any = None  # in the place of SCORE and SCORE_GRADIENT; None: they may be infinite
    KEEP_STATIC: Any = None  # KEEP in tiles where no test of data holds for any pair; None: KEEP itself


class Lists(NamedTuple):
    """What a program visits besides ranges of tiles, one line for each tile of its own; None: nothing.

    LIST holds tiles, and with SEEN single positions.  With MASKS there is nothing but what it names.  Entries of tiles
    say what is known of their pairs: 2 * tile + whether all are kept; with COUNTS 4 * tile + 1 where all are, + 2 where
    no test of data holds for any of them, and + 0 elsewhere.
    """

    STARTS: Any = None  # where lines begin
    LIST: Any = None
    SEEN: Any = None  # bit i: row i of the program's own tile has a pair with the position
    LIST_MASKS: Any = None  # for each tile its place in MASKS
    MASKS: Any = None
    COUNTS: Any = None  # of entries (negative: of a long line), of a list that is made in the call
    batch_lines: Any = 0  # where rows of the batch and heads have lines of their own; else 0
    head_lines: Any = 0
    room: Any = 0  # of several sequences, of all lines of a head that has lines of its own
    HEADS: Any = None  # entries are about a tile and one of so many query heads: tile * HEADS + its number
    ROWS: Any = None  # entries are about so many rows of Q, of which several fill a tile


class Walk(NamedTuple):
    """The steps of a program through a region: those of ranges of tiles, then those of a list."""

    length: Any  # of what it goes over, in the layout
    steps: Any
    ranges: Any  # as KEYS and QUERIES say: steps, first tile, then for each turn its step and the tiles skipped there
    begin: Any  # of the list
    end: Any


class Stop(NamedTuple):
    """One step of a walk: a tile, or some listed positions."""

    place: Any  # of the first position
    position: Any  # of keys, or rows of Q
    listed: Any  # where the tile stands in the list, and its entry
    entry: Any
    seen: Any


@triton.jit
def ask(ANSWER: tl.constexpr, given, more, NUMBERS: tl.constexpr):
    """What a function of the pattern answers."""
    if NUMBERS is None:
        answer = ANSWER(*given, *more)
    else:
        answer = ANSWER(*given, *more, NUMBERS)
    return answer


@triton.jit
def ask_keep(rules, q, k, n, at):
    """Which pairs are kept, by KEEP; `at`: the row of the batch, the query head, and how many heads there are."""
    tables = ()
    if rules.TABLES is not None:
        tables = rules.TABLES
    if rules.INPUTS is None:
        kept = ask(rules.KEEP, (q, k, n), tables, rules.NUMBERS)
    else:
        kept = ask_data(rules.KEEP, (q, k, n, at), tables, rules)
    return kept


@triton.jit
def ask_data(ANSWER: tl.constexpr, given, tables, rules):
    """What a function answers that reads data of the call."""
    if rules.NUMBERS is None:
        answer = ANSWER(*given, *tables, *rules.INPUTS, rules.FORMS)
    else:
        answer = ANSWER(*given, *tables, *rules.INPUTS, rules.FORMS, rules.NUMBERS)
    return answer


@triton.jit
def walk_of(rules, lists, line, first, batch, head, length, given, more, PACKED: tl.constexpr):
    """The walk of a program with that line of lists; KEYS or QUERIES are asked with `given` and `more`.

    PACKED: lines are those of tiles of several sequences, and entries begin at `first`.
    """
    ranges = (0,)
    if rules.VISITS is not None:
        ranges = ask(rules.VISITS, given, more, rules.NUMBERS)
    steps, begin, end = ranges[0], 0, 0
    if lists.COUNTS is not None:
        if PACKED:
            steps = tl.load(lists.COUNTS + line_of(0, head, line, 0, lists.head_lines))
            begin = line_of(0, head, first, 0, lists.room)
        else:
            line = line_of(batch, head, line, lists.batch_lines, lists.head_lines)
            steps, begin = tl.abs(tl.load(lists.COUNTS + line)), tl.load(lists.STARTS + line)
    elif lists.STARTS is not None:
        begin, end = tl.load(lists.STARTS + line), tl.load(lists.STARTS + line + 1)
        steps += end - begin
    return Walk(length, steps, ranges, begin, end)


@triton.jit
def tile_of(walk, lists, step):
    """The tile of a step, and its entry in the list."""
    LENGTH: tl.constexpr = len(walk.ranges)
    entry = 0
    if lists.MASKS is not None:
        entry = tl.load(lists.LIST + walk.begin + step).to(tl.int32)
        tile = entry // 2
    else:
        tile = step
        if LENGTH > 1:
            tile = walk.ranges[1] + step
        for turn in tl.static_range(2, LENGTH, 2):
            tile += tl.where(step >= walk.ranges[turn], walk.ranges[turn + 1], 0)
        if lists.STARTS is not None or lists.COUNTS is not None:
            beyond = step >= walk.ranges[0]
            entry = tl.load(lists.LIST + walk.begin + step - walk.ranges[0], mask=beyond, other=0).to(tl.int32)
            named = entry // (2 if lists.COUNTS is None else 4)
            if lists.HEADS is not None:
                named = named // lists.HEADS
            tile = tl.where(beyond, named, tile)
    return tile, entry


@triton.jit
def whole_steps(walk, lists, BLOCK: tl.constexpr):
    """The steps whose tiles are whole.  Steps go to rising tiles: only the last of them can be ragged."""
    last, _ = tile_of(walk, lists, walk.steps - 1)
    ragged = (walk.steps > 0) & ((last + 1) * BLOCK > walk.length)
    return walk.steps - tl.where(ragged, 1, 0)


@triton.jit
def stop_at_tile(walk, lists, step, first, BLOCK: tl.constexpr, STRIDE: tl.constexpr, GATHERED: tl.constexpr):
    """The tile of a step; `first`: of the positions of the residue class."""
    tile, entry = tile_of(walk, lists, step)
    place = tile * BLOCK
    if GATHERED is not None:
        position = gathered_key(place + tl.arange(0, BLOCK), GATHERED[0], GATHERED[1], GATHERED[2])
    else:
        position = (first + STRIDE * place) + STRIDE * tl.arange(0, BLOCK)
    return Stop(place, position, walk.begin + step, entry, 0)


@triton.jit
def stop_at_listed(walk, lists, first, length, BLOCK: tl.constexpr):
    """The positions from number `first` of the list on."""
    number = first + tl.arange(0, BLOCK)
    position = tl.load(lists.LIST + number, mask=number < walk.end, other=length)
    return Stop(0, position, 0, 0, tl.load(lists.SEEN + number, mask=number < walk.end, other=0))


@triton.jit
def stop_at_rows(walk, lists, step, length, BLOCK: tl.constexpr):
    """The rows of Q that some entries of the list are about."""
    row = tl.arange(0, BLOCK)
    number = step * (BLOCK // lists.ROWS) + row // lists.ROWS
    there = number < walk.steps
    entry = tl.load(lists.LIST + walk.begin + number, mask=there, other=1).to(tl.int32)
    position = tl.where(there, entry // 4 * lists.ROWS + row % lists.ROWS, length)
    return Stop(0, position, 0, tl.min((entry % 4 == 1).to(tl.int32), 0), 0)  # whole where all of them are


@triton.jit
def _keep_scores(s, rules, q, k, n, at, gone, PACKED: tl.constexpr, BY_QUERY: tl.constexpr):
    """Scores of kept pairs, -inf for others; BY_QUERY: rows are queries, and keys that are not there are left out."""
    if BY_QUERY:
        mask = ask_keep(rules, q[:, None], k[None, :], n, at) & _key_mask(k, n, gone, PACKED)
    else:
        mask = ask_keep(rules, q[None, :], k[:, None], n, at)
    return tl.where(mask, s, float("-inf"))


@triton.jit
def _keep_scores_static(s, rules, q, k, n, gone, PACKED: tl.constexpr, BY_QUERY: tl.constexpr):
    """As `_keep_scores`, in a tile where no test of data holds."""
    tables = ()
    if rules.TABLES is not None:
        tables = rules.TABLES
    if BY_QUERY:
        mask = ask(rules.KEEP_STATIC, (q[:, None], k[None, :], n), tables, rules.NUMBERS)
        mask = mask & _key_mask(k, n, gone, PACKED)
    else:
        mask = ask(rules.KEEP_STATIC, (q[None, :], k[:, None], n), tables, rules.NUMBERS)
    return tl.where(mask, s, float("-inf"))


@triton.jit
def _key_mask(k, n, gone, PACKED: tl.constexpr):
    """Which keys there are: [1, keys]."""
    mask = k < n
    if PACKED:
        mask &= k >= gone[1]
    return mask[None, :]


@triton.jit
def mask_scores(
    s, rules, lists, walk, stop, q, k, edges, more, at, gone, PACKED: tl.constexpr,
    BY_QUERY: tl.constexpr, OWN: tl.constexpr, OTHER: tl.constexpr,
):  # fmt: skip
    """Scores of a tile, -inf where the pattern leaves a pair out; tiles that are kept whole go without a mask.

    FULL is asked with `edges`, q_lo, q_hi, k_lo, k_hi, and with `more`, of which n is the first; KEEP with `at`.
    `gone`: whether the tile has keys before the first one that is there, and its position, where sequences are PACKED.
    BY_QUERY: as in `_keep_scores`.
    """
    if lists.SEEN is not None:
        s = tl.where((stop.seen[None, :] >> tl.arange(0, OWN)[:, None]) & 1 == 1, s, float("-inf"))
    elif lists.MASKS is not None:
        if stop.entry % 2 == 0:
            mask = tl.load(lists.LIST_MASKS + stop.listed)
            s = tl.where(in_mask(lists.MASKS, mask, OWN, OTHER), s, float("-inf"))
    elif rules.KEEP is None or rules.WHOLE:
        if BY_QUERY:
            ragged = edges[3] >= walk.length
            if PACKED:
                ragged = ragged | gone[0]
            if ragged:
                s = tl.where(_key_mask(k, more[0], gone, PACKED), s, float("-inf"))
    elif rules.FULL is None and not rules.LISTS_FILL:
        s = _keep_scores(s, rules, q, k, more[0], at, gone, PACKED, BY_QUERY)
    else:
        known = stop.entry % (2 if lists.COUNTS is None else 4)
        whole = known == 1
        if rules.FULL is not None:
            full = ask(rules.FULL, edges, more, rules.NUMBERS)
            whole = full | whole if rules.LISTS_FILL else full
        if BY_QUERY:
            whole = whole & (edges[3] < walk.length)
            if PACKED:
                whole = whole & (not gone[0])
        if rules.KEEP_STATIC is None:
            if not whole:
                s = _keep_scores(s, rules, q, k, more[0], at, gone, PACKED, BY_QUERY)
        elif BY_QUERY:  # in this order fewer instructions, below in the other one no spills
            if not (whole | (known == 2)):
                s = _keep_scores(s, rules, q, k, more[0], at, gone, PACKED, BY_QUERY)
            if known == 2:
                s = _keep_scores_static(s, rules, q, k, more[0], gone, PACKED, BY_QUERY)
        else:
            if known == 2:
                s = _keep_scores_static(s, rules, q, k, more[0], gone, PACKED, BY_QUERY)
            if not (whole | (known == 2)):
                s = _keep_scores(s, rules, q, k, more[0], at, gone, PACKED, BY_QUERY)
    return s
