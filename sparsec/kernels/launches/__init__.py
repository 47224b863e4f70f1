"""From a kernel and tensors to a launch: compiled once, prepared once for each set of shapes, then repeated.

Read `launch`, then `prepare` and `stages` (what a pass needs), then `direct` and `whole_call` (what a repeated call
does).
"""
