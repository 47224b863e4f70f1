"""The operator of a pattern: `op` is a call, `registration` what torch knows of it.

`repeated`, `known_call` and `repeated_gradients` are the short way of a call like one before; `packed` and `one_by_one`
are calls about several sequences.
"""
