"""The backward kernel of the Hopper tier, on the device: `kernel` first.

A warp loads (`load`); groups of warps do five products a step (`weights`), and leave what two others store (`leave`,
`store`).  `plan`, `tiles` and `sequences` say what each works on; `row_stats` and `step_list` are kernels around it.
"""
