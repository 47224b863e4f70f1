"""Device functions that kernels of all kinds share: the tiles of a program, its walks, loads, masks and softmax.

Read `ranges`, `shares` and `own_tiles` (the tile of a program), `regions` with `key_regions` and `query_regions` (the
walk of a tile, the masks of its steps), `scores` and `softmax`, then `splits` (what programs leave that share a tile).
"""
