"""Patterns that come apart into layouts."""

# Few ranges do not say which tiles hold a pair, or would hold many others.
FROM_LISTS = [
    "abs(min(max(q // 12, 1), 4) - k // 12) <= 1 & abs(min(max(q % 12, 1), 10) - k % 12) <= 1",
    "abs(q // 8 % 3 - k // 8 % 3) <= 1 & abs(q // 24 - k // 24) <= 1 & q >= k",
    "q in 0..20 & k in 0..20 | q in 20..37 & k in 20..37 | q in 37..70 & k in 37..70",
    "(abs(q // 10 - k // 10) <= 1 & abs(q % 10 - k % 10) <= 1 | random_blocks(8, 2, 1)) & ~random_keys(4, 2)",
    "past(20) & ~random_keys(5, 1) | sinks(3)",
    "q >= k & (q - k) % 7 < 3 & q // 16 != 2",
]

# As these, in residue classes and gathered keys, alone and beside others.
FROM_LISTS_IN_LAYOUTS = [
    "stride(3) & abs(min(max(q // 12, 1), 4) - k // 12) <= 1",
    "k % 10 == 3 & (q // 20 + k // 20) % 3 == 0",
    "(k % 12 < 2 & (q // 16 + k // 8) % 3 == 0) | past(5) | stride(2) & (q // 24 - k // 24) % 2 == 0",
]

SPREAD = [
    "causal & stride(4)",
    "stride(8)",
    "stride(4) & (past(30) | q < 4)",
    "causal & (past(16) | stride(16))",
    "causal & (same_block(16) | k % 16 in {14, 15})",
    "k % 40 in {3, 4}",
    "q - k in {0, 16} & k % 24 == 0",  # some tiles of queries have no key of the first distance
    "window(9) | global(3) | stride(12) & causal",
    "same_block(48) & stride(3)",
    "random_blocks(8, 2, 1) | causal & stride(7)",
    "random_keys(3, 1)",
    "causal & (past(12) | random_keys(4, 5) | random_past_blocks(4, 2, 9))",
    "global(2) | blocks(8, [[0, 3, 9], [], [4]]) | random_blocks(32, 2, 3) | k % 40 < 2",
    "stride(6) & same_block(50) | stride(4) & past(40) | k % 30 < 2",
]
