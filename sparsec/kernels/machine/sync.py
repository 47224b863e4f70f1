"""Synchronisation that Gluon lacks: named barriers, counters in global memory, stores that are complete; and flags.

An arrival at an mbarrier has a group of warps wait for one another; an arrival at a named barrier costs nothing.
Triton takes the numbers up to 5.  A bulk copy is complete where its writes are visible to others, which is later
than where its shared memory has been read.
"""

from __future__ import annotations

from sparsec.kernels.machine.gluon import gl, gluon

# What a barrier is told, and how many threads meet there: two groups of warps, both and a warp, one and a warp, three,
# these and a warp.
ARRIVE_GROUPS = gl.constexpr("bar.arrive $1, 256; mov.u32 $0, $1;")
MEET_GROUPS = gl.constexpr("bar.sync $1, 256; mov.u32 $0, $1;")
ARRIVE_ALL = gl.constexpr("bar.arrive $1, 288; mov.u32 $0, $1;")
MEET_ALL = gl.constexpr("bar.sync $1, 288; mov.u32 $0, $1;")
ARRIVE_STORER = gl.constexpr("bar.arrive $1, 160; mov.u32 $0, $1;")
MEET_STORER = gl.constexpr("bar.sync $1, 160; mov.u32 $0, $1;")
MEET_THREE_GROUPS = gl.constexpr("bar.sync $1, 384; mov.u32 $0, $1;")
ARRIVE_ALL_OF_THREE = gl.constexpr("bar.arrive $1, 416; mov.u32 $0, $1;")
MEET_ALL_OF_THREE = gl.constexpr("bar.sync $1, 416; mov.u32 $0, $1;")

# Where groups have changed shared memory.
VALUES_CLEARED = gl.constexpr(9)
# The first of the named barriers at which groups give back a tile of queries, and a stage.
QUERIES_EMPTY, STAGE_EMPTY = gl.constexpr(10), gl.constexpr(12)

_COMPLETE = gl.constexpr("cp.async.bulk.wait_group 0; mov.u32 $0, $1;")
# Only a fence for global memory: the full one would wait for all writes of the thread.
_AWAIT = gl.constexpr("""{
    .reg .pred p;
    .reg .b32 v;
AGAIN:
    ld.acquire.gpu.global.b32 v, [$1];
    setp.lt.s32 p, v, $2;
    @p bra AGAIN;
    fence.proxy.async.global;
    mov.b32 $0, v;
}""")
_COUNT = gl.constexpr("""{
    .reg .pred p;
    bar.warp.sync -1;
    elect.sync _|p, -1;
    @p red.release.gpu.global.add.s32 [$1], 1;
    mov.b32 $0, 0;
}""")
_NEXT = gl.constexpr("""{
    .reg .pred p;
    .reg .b32 v, lane;
    mov.b32 v, 0;
    elect.sync lane|p, -1;
    @p atom.relaxed.gpu.global.add.u32 v, [$1], 1;
    shfl.sync.idx.b32 $0, v, lane, 31, -1;
}""")


@gluon.jit
def named_barrier(number, WHAT: gl.constexpr):
    """Arrives at a named barrier, or waits there."""
    gl.inline_asm_elementwise(WHAT, "=r,r", [gl.to_tensor(number)], dtype=gl.int32, is_pure=False, pack=1)


@gluon.jit
def group_is_done(number, GROUPS: gl.constexpr):
    """A group says at a named barrier that it has read what the loading warp may then overwrite."""
    named_barrier(number, ARRIVE_ALL if GROUPS == 2 else ARRIVE_ALL_OF_THREE)


@gluon.jit
def await_groups(number, GROUPS: gl.constexpr):
    """The loading warp waits until all groups have given back what it overwrites then."""
    named_barrier(number, MEET_ALL if GROUPS == 2 else MEET_ALL_OF_THREE)


@gluon.jit
def stores_complete():
    """Waits until all bulk copies of the calling warp to global memory are complete."""
    gl.inline_asm_elementwise(_COMPLETE, "=r,r", [gl.to_tensor(0)], dtype=gl.int32, is_pure=False, pack=1)


@gluon.jit
def await_count(counter, least):
    """Waits until a counter has reached a number; bulk copies behind it see what was complete before."""
    gl.inline_asm_elementwise(
        _AWAIT, "=r,l,r", [counter.to(gl.int64), least], dtype=gl.int32, is_pure=False, pack=1
    )  # fmt: skip


@gluon.jit
def count_up(counter):
    """A counter goes up by one, by one warp, whose bulk copies are complete."""
    gl.inline_asm_elementwise(_COUNT, "=r,l", [counter.to(gl.int64)], dtype=gl.int32, is_pure=False, pack=1)


@gluon.jit
def next_number(counter):
    """What a counter was before it went up by one, by one warp."""
    return gl.inline_asm_elementwise(_NEXT, "=r,l", [counter.to(gl.int64)], dtype=gl.int32, is_pure=False, pack=1)


@gluon.jit
def says(said, FLAG: gl.constexpr):
    """Whether a flag is set in a number, or any of some."""
    return (said & FLAG) != 0
