"""The passes of a CPU, in large operations of torch: `torch_path` first.

`order` puts rows in tiles, `visits` finds what they visit, `stacks` and `runs` take many at once, `forward` and
`backward` are the products, `scores` those with scores or dropout; `step` and `groups` are paths of their own.
"""
