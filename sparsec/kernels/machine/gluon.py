"""Gluon, Triton's language for one kind of GPU, as kernels for Hopper (capability 9.0) use it.

Names that differ between Triton 3.6 and 3.9 have one name here.  Functions in Triton's language need no second form:
what a kernel in Gluon calls is compiled as Gluon, and tensors know their layouts.
"""

from __future__ import annotations

try:
    from triton._C.libtriton import ir
    from triton.experimental import gluon
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon.language._core import builtin
    from triton.experimental.gluon.language.nvidia.hopper import (
        fence_async_shared,
        mbarrier,
        tma,
        warpgroup_mma,
        warpgroup_mma_init,
        warpgroup_mma_wait,
    )
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor as GluonDescriptor

    @builtin
    def add_box(box, coord, src, _semantic=None):
        """Adds a tile in shared memory to global memory, asynchronously.  From Triton 3.8 on it is public."""
        coord = _semantic._convert_to_ir_values(coord, require_i64=False)
        _semantic.builder.create_async_tma_reduce(ir.DESCRIPTOR_REDUCE_KIND.ADD, box.handle, coord, src.handle)

    @builtin
    def seen_as(shared, dtype, shape, layout, _semantic=None):
        """Shared memory with other elements in another layout."""
        known = getattr(shared, "reinterpret", None) or shared._reinterpret
        return known(dtype, shape, layout, _semantic=_semantic)

    load_box = getattr(tma, "async_load", None) or tma.async_copy_global_to_shared
    store_box = getattr(tma, "async_store", None) or tma.async_copy_shared_to_global
    store_wait = tma.store_wait
    meet_warps = getattr(gl, "thread_barrier", None) or gl.barrier  # of one group
except ImportError:  # no Triton, or one without Gluon for Hopper: the tier can't be chosen
    from types import SimpleNamespace

    gluon = SimpleNamespace(jit=lambda f=None, **_: f or (lambda g: g))
    gl = SimpleNamespace(constexpr=lambda x: x)
    fence_async_shared = mbarrier = tma = warpgroup_mma = warpgroup_mma_init = warpgroup_mma_wait = None
    add_box = seen_as = None
    load_box = store_box = store_wait = meet_warps = None
    GluonDescriptor = None
