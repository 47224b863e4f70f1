"""Forward kernels of the Hopper tier, on the device: `kernel` over ranges of tiles, `block_kernel` over listed blocks.

A warp loads (`load`, `block_load`); groups of warps do the products and the softmax (`mask`, `softmax`), and store
(`store`).  `plan`, `block_plan` and `tiles` say what each works on.
"""
