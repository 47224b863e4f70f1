"""Attention over groups of tokens: `launch` first, which makes `lists` and launches `kernels`, then `joins`."""
