"""What the Hopper tier's forward kernel over blocks passes on, and what its loading warp says of steps."""

from __future__ import annotations

from typing import Any, NamedTuple

from sparsec.kernels.machine.gluon import gl

# What is said of a step, besides FIRST and ENDS.  Of the first group; the second one has what is twice that, and of
# masks, which are by halves of the keys, four times that.
BLOCK_MASKS = gl.constexpr(8)  # the group's rows have a pair with the first block that is left out; twice that: second
BLOCK_GONE = gl.constexpr(128)  # they have none that is kept
NEXT_IS_SECOND = gl.constexpr(2048)  # the step that the group has next is that after the next one
NEXT_IS_OWN = gl.constexpr(8192)  # it is of that group alone
OF_ONE_GROUP = gl.constexpr(32768)  # this one is

KEY_STAGES, VALUE_STAGES = gl.constexpr(2), gl.constexpr(3)
SAID_STEPS, SAID_WORDS = gl.constexpr(4), gl.constexpr(3)  # flags, then the two blocks
# The first of the named barriers at which groups give back stages.
KEYS_EMPTY, VALUES_EMPTY = gl.constexpr(12), gl.constexpr(6)


class BlockLists(NamedTuple):
    """The steps of tiles, as `sparsec.kernels.hopper.block_steps` has them."""

    STARTS: Any
    STEPS: Any
    share_every: Any  # of so many turns of all programs one is a share of a tile that they split


class BlockShared(NamedTuple):
    """Shared memory, as `HopperShared`; barriers of stages stand thrice: of steps of both groups, and of one."""

    q: Any
    k: Any
    v: Any
    factors: Any
    said: Any
    tiles: Any
    q_full: Any
    k_full: Any
    v_full: Any
