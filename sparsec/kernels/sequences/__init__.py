"""Several sequences in a call: packed documents, rows of unequal length, offsets.

Read `positions` (what a call says), `sequences` and `table` (the table made of it), then `tiles` and `inputs`.
"""
