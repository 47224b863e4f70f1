"""What tiles of the Hopper tier take of a processor, by head size: registers, shared memory and traffic.

Head sizes are rounded up.  Registers are those of a thread, of so many that it has; shared memory is in bytes, of so
many that there are; traffic is what a step moves from and to the L2 cache, in bytes for each cycle that its products
take at least.  At 256, dk and dv of the fewest keys that a group can have would take all registers: gradients are made
in the plain tier.

| head size | pass | queries | keys | stages | groups of warps | registers | shared memory | traffic |
|---|---|---|---|---|---|---|---|---|
| 64 | forward | 192 | 128 | 4 | 3 | 128 of 160 | 204,800 of 232,448 | 21.3 |
| 64 | backward | 128 | 128 | 2 | 2 | 224 of 240 | 199,680 of 232,448 | 25.6 |
| 128 | forward | 128 | 128 | 2 | 2 | 160 of 240 | 229,376 of 232,448 | 32.0 |
| 128 | backward | 64 | 128 | 3 | 2 | 224 of 240 | 231,680 of 232,448 | 25.6 |
| 256 | forward | 128 | 64 | 2 | 2 | 176 of 240 | 196,608 of 232,448 | 32.0 |
| 256 | backward | 64 | 128 | 1 | 2 | 384 of 240 | 295,680 of 232,448 | 25.6 |
"""

from __future__ import annotations

from typing import NamedTuple

SHARED = 232_448  # bytes that a program may have
REGISTERS = {2: 240, 3: 160}  # of a thread, by the groups of warps that compute; their tiles must leave room for others
LEFT = 16  # registers that a thread needs besides its tiles, at least
OPERATIONS = 4096  # of products of 16-bit numbers, a cycle of a processor
GROUP_ROWS = 64  # of a tile forward that a group of warps has


class HopperTiles(NamedTuple):
    """Tiles of the forward kernel."""

    rows: int  # of queries: 64 for each group of warps
    keys: int
    stages: int  # of keys and values, which shared memory holds beside queries and results
    slots: int = 2  # tiles of queries that it holds; with one slot results go to memory from registers

    @property
    def groups(self) -> int:
        """Of warps that compute."""
        return self.rows // GROUP_ROWS

    def registers(self, size: int) -> int:
        """Of a thread: scores and results in 32 bits, weights in 16.  A group has 128 threads."""
        return GROUP_ROWS * (4 * self.keys + 4 * size + 2 * self.keys) // (4 * 128)

    def shared(self, size: int) -> int:
        """Bytes of the tiles of queries, one of results where there are two, and the stages."""
        rows = self.rows * (1 if self.slots == 1 else self.slots + 1)
        return 2 * size * (rows + 2 * self.stages * self.keys)

    @property
    def traffic(self) -> float:
        """Bytes a cycle of products: a step loads 4 * keys * size of them for 4 * rows * keys * size operations."""
        return OPERATIONS / self.rows


class BackwardTiles(NamedTuple):
    """Tiles of the backward kernel; two groups of warps have half of the keys each."""

    queries: int
    keys: int
    stages: int  # of queries and their gradients, which shared memory holds beside one tile of keys and values

    @property
    def groups(self) -> int:
        """Of warps that compute."""
        return 2

    def registers(self, size: int) -> int:
        """Of a thread: dk and dv of its keys, half of dq, scores and their gradients of 64 queries at a time."""
        in_flight = 2 * self.queries  # those of the next 64 are made meanwhile
        return (self.keys // 2 * 2 * size + self.queries * size // 2 + self.keys // 2 * in_flight) // 128

    def shared(self, size: int, numbers: int = 3) -> int:
        """Bytes: besides, numbers of each query, gradients of scores of two steps, and half of dq for each group.

        `numbers`: log-sum-exp and delta, and a word where weights are dropped.
        """
        loaded = 4 * self.keys * size + self.stages * 4 * self.queries * (size + numbers)
        return loaded + 4 * self.keys * self.queries + 4 * self.queries * size

    @property
    def traffic(self) -> float:
        """Bytes a cycle of products: queries, gradients and sums of dq take 8 * queries * size of them a step, and five
        products 10 * queries * keys * size operations.
        """
        return 8 * OPERATIONS / (10 * self.keys)


# By head size, rounded up: the best that were measured, or the smallest.
HOPPER_TILES = {64: HopperTiles(192, 128, 4), 128: HopperTiles(128, 128, 2), 256: HopperTiles(128, 64, 2, 1)}
BACKWARD_TILES = {64: BackwardTiles(128, 128, 2), 128: BackwardTiles(64, 128, 3), 256: BackwardTiles(64, 128, 1)}


def hopper_size(head_dim: int) -> int:
    """The head size that its tiles have."""
    return max(64, 1 << (head_dim - 1).bit_length())


def fits(size: int, backward: bool) -> bool:
    """Whether a processor has room for the tiles of a head size, in one pass."""
    if size not in HOPPER_TILES:
        return False
    tiles = BACKWARD_TILES[size] if backward else HOPPER_TILES[size]
    return tiles.shared(size) <= SHARED and tiles.registers(size) + LEFT <= REGISTERS[tiles.groups]
