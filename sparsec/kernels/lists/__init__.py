"""Lists of the tiles that kernels visit, where no few ranges say which these are.

Made once for a length: `tables`, then `tile_lists` with `boxes`, `tile_kinds`, `row_classes` and `tile_grid`.  Made of
data at every call: `data_tiles`, then `judging`, `table_tiles`, `rooms` and `long_lines`.
"""
