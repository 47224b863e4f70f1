"""The Hopper tier: kernels in Gluon for GPUs of capability 9.0, and what prepares them on the host.

Read `rules` and `resources` (what may run in it), `tier` (asked of a pass), then `launch_forward` with `forward`,
`launch_blocks` with `block_steps`, `launch_backward` with `backward_steps` and `backward`.
"""
