"""A step of decoding: the last rows of sequences against a cache of keys.

Read `call`, then `gpu` with `kernel`, `tiles`, `work` and `parts`, or `cpu`.
"""
