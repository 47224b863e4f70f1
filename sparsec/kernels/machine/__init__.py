"""What kernels stand on: Triton and Gluon where they are there, what a device can do, tile sizes, tensors in memory."""
