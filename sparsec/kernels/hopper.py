"""Gluon, Triton's language for one kind of GPU, as kernels for Hopper (capability 9.0) use it.

Names that differ between Triton 3.6 and 3.9 have one name here.  Functions in Triton's language need no second form:
what a kernel in Gluon calls is compiled as Gluon, and tensors know their layouts.
"""

from __future__ import annotations

try:
    from triton.experimental import gluon
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon.language.nvidia.hopper import (
        fence_async_shared,
        mbarrier,
        tma,
        warpgroup_mma,
        warpgroup_mma_wait,
    )
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor as GluonDescriptor

    load_box = getattr(tma, "async_load", None) or tma.async_copy_global_to_shared
    store_box = getattr(tma, "async_store", None) or tma.async_copy_shared_to_global
    store_wait = tma.store_wait
except ImportError:  # no Triton, or one without Gluon for Hopper: the tier can't be chosen
    from types import SimpleNamespace

    gluon = SimpleNamespace(jit=lambda f=None, **_: f or (lambda g: g))
    gl = SimpleNamespace(constexpr=lambda x: x)
    fence_async_shared = mbarrier = tma = warpgroup_mma = warpgroup_mma_wait = None
    load_box = store_box = store_wait = None
    GluonDescriptor = None
