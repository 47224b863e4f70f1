"""Kernels that write the table of sequences on a GPU (`sparsec.kernels.sequences.sequences` says what stands there).

Programs go over lines, or over tokens for documents of which each token knows the start.  Lines left over are 0.
"""

from __future__ import annotations

from sparsec.kernels.machine.device import tl, triton


@triton.jit
def _store_line(SEQUENCES, line, there, row, q_first, n_q, k_first, k_begin, n, q_offset):
    """Stores the columns of some lines."""
    own = SEQUENCES + line * 7
    tl.store(own, row, mask=there)
    tl.store(own + 1, q_first, mask=there)
    tl.store(own + 2, n_q, mask=there)
    tl.store(own + 3, k_first, mask=there)
    tl.store(own + 4, k_begin, mask=there)
    tl.store(own + 5, n, mask=there)
    tl.store(own + 6, q_offset, mask=there)


@triton.jit
def _end(CU_SEQLENS, place, documents, length):
    """Number `place` of 0, the ends of the documents, the length."""
    inside = (place > 0) & (place < documents + 2)
    end = tl.load(CU_SEQLENS + place - 1, mask=inside, other=0)
    end = tl.minimum(tl.maximum(end, 0), length).to(tl.int32)
    return tl.where(place < documents + 2, end, length)


@triton.jit(do_not_specialize=["documents", "lines", "length"])
def write_documents(CU_SEQLENS, SEQUENCES, documents, lines, length, AT_ONCE: tl.constexpr):
    """As `of_documents`: rows of K, then of Q, before the first document; documents; rows of Q, then of K, behind."""
    line = tl.program_id(0) * AT_ONCE + tl.arange(0, AT_ONCE)
    place = tl.minimum(tl.maximum(line - 1, 0), documents + 1)
    first = _end(CU_SEQLENS, place, documents, length)
    size = tl.maximum(_end(CU_SEQLENS, place + 1, documents, length) - first, 0)
    size = tl.where(line < documents + 4, size, 0)
    n_q = tl.where((line > 0) & (line < documents + 3), size, 0)
    n = tl.where((line != 1) & (line != documents + 2), size, 0)
    zero = line * 0
    _store_line(SEQUENCES, line, line < lines, zero, first, n_q, first, zero, n, zero)


@triton.jit
def _number_of_row(NUMBERS, number, row, there):
    """The number of each row, or the one of all."""
    found = row * 0 + number
    if NUMBERS is not None:
        found = tl.load(NUMBERS + row, mask=there, other=0).to(tl.int32)
    return found


@triton.jit(do_not_specialize=["batch", "lines", "n_q", "n_k", "q_offset", "k_offset"])
def write_rows(
    LENGTHS, Q_LENGTHS, Q_OFFSETS, K_OFFSETS, SEQUENCES, batch, lines, n_q, n_k, q_offset, k_offset,
    SAME: tl.constexpr, AT_THE_END: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """As `of_rows`; of each row: its queries before the sequence, the sequence, those behind, keys before and behind.

    SAME: queries and keys are the same tokens.  AT_THE_END: queries are the last of the keys.
    """
    line = tl.program_id(0) * AT_ONCE + tl.arange(0, AT_ONCE)
    part, row = line // batch, line % batch
    first_key = _number_of_row(K_OFFSETS, k_offset, row, line < lines)
    passed = first_key + n_k
    n = passed
    if LENGTHS is not None:
        n = tl.minimum(_number_of_row(LENGTHS, 0, row, line < lines), passed)
    k_begin = tl.maximum(first_key, 0)
    k_first = tl.minimum(k_begin - first_key, n_k)
    n = tl.maximum(tl.maximum(n, 0), k_begin)
    count = tl.minimum(tl.maximum(_number_of_row(Q_LENGTHS, n_q, row, line < lines), 0), n_q)
    if SAME:
        position = first_key
    elif AT_THE_END:
        position = tl.maximum(n - count, 0)
    else:
        position = _number_of_row(Q_OFFSETS, q_offset, row, line < lines)
    q_first = tl.minimum(tl.maximum(-position, 0), count)
    stop = count
    if SAME:
        stop = tl.minimum(tl.maximum(n - position, 0), count)
    queries = tl.maximum(stop - q_first, 0)
    k_stop = k_first + n - k_begin
    own, behind = part == 1, part == 2
    own_q = tl.where(own, queries, tl.where(behind, n_q - q_first - queries, tl.where(part == 0, q_first, 0)))
    own_q_first = tl.where(own, q_first, tl.where(behind, q_first + queries, 0))
    own_n = tl.where(own, n, tl.where(part == 3, k_first, tl.where(part == 4, n_k - k_stop, 0)))
    own_k_first = tl.where(own, k_first, tl.where(part == 4, k_stop, 0))
    own_begin, own_offset = tl.where(own, k_begin, 0), tl.where(own, position + q_first, 0)
    row = tl.where(part < 5, row, 0)
    _store_line(SEQUENCES, line, line < lines, row, own_q_first, own_q, own_k_first, own_begin, own_n, own_offset)


@triton.jit
def _later(x, y):
    return tl.maximum(x, y)


@triton.jit
def _begins(START, token, tokens, length):
    """Whether a token begins a document: it is its own start, or the first one of its row."""
    place = token % length
    return (token < tokens) & ((place == 0) | (tl.load(START + token, mask=token < tokens, other=-1) == place))


@triton.jit(do_not_specialize=["tokens", "length"])
def count_starts(START, COUNTS, LASTS, tokens, length, AT_ONCE: tl.constexpr):
    """How many documents begin among the tokens of each program, and at which token the last of these does, or -1."""
    token = tl.program_id(0) * AT_ONCE + tl.arange(0, AT_ONCE)
    begins = _begins(START, token, tokens, length)
    tl.store(COUNTS + tl.program_id(0), tl.sum(begins.to(tl.int32), 0))
    tl.store(LASTS + tl.program_id(0), tl.max(tl.where(begins, token, -1), 0))


@triton.jit(do_not_specialize=["tokens", "length", "lines"])
def write_starts(START, COUNTS, LASTS, SEQUENCES, tokens, length, lines, AT_ONCE: tl.constexpr):
    """As `of_starts`, from what `count_starts` counted: the last token of a document writes its line."""
    before, last, total = 0, -1, 0
    for begin in range(0, tl.num_programs(0), AT_ONCE):
        program = begin + tl.arange(0, AT_ONCE)
        earlier = program < tl.program_id(0)
        counts = tl.load(COUNTS + program, mask=program < tl.num_programs(0), other=0)
        before += tl.sum(tl.where(earlier, counts, 0), 0)
        total += tl.sum(counts, 0)
        last = tl.maximum(last, tl.max(tl.load(LASTS + program, mask=earlier, other=-1), 0))
    token = tl.program_id(0) * AT_ONCE + tl.arange(0, AT_ONCE)
    begins = _begins(START, token, tokens, length)
    line = before + tl.cumsum(begins.to(tl.int32), 0) - 1
    first = tl.maximum(tl.associative_scan(tl.where(begins, token, -1), 0, _later), last)
    ends = (token == tokens - 1) | _begins(START, token + 1, tokens, length)
    place, size, zero = first % length, token + 1 - first, token * 0
    _store_line(SEQUENCES, line, ends & (token < tokens), token // length, place, size, place, zero, size, zero)
    _store_line(SEQUENCES, token, (token >= total) & (token < lines), zero, zero, zero, zero, zero, zero, zero)
