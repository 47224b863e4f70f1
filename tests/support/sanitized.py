"""A sample of one tier as a program, for compute-sanitizer: python sanitized.py plain or hopper [small].

Small calls and their gradients, in both orders of sums; small: of one pattern alone, whatever the tool costs.
"""

from __future__ import annotations

import os
import sys

os.environ["SPARSEC_TIER"] = sys.argv[1]
os.environ["PYTORCH_NO_CUDA_MEMORY_CACHING"] = "1"  # a tensor's end is the end of its memory

import torch

import sparsec

CASES = [  # a pattern, queries, keys, head size, documents
    ("past(100) | sinks(4)", 300, 300, 128, None),
    ("window(100) | global(20)", 500, 700, 64, None),
    ("past(100)", 700, 700, 128, [0, 70, 71, 400, 700]),
    ("k < n", 333, 600, 96, None),
    ("past(99) with softcap(2), alibi", 600, 600, 64, None),
]


def main() -> None:
    small = sys.argv[2:] == ["small"]
    for text, n_q, n, size, ends in CASES[: 1 if small else None]:
        attend = sparsec.compile(f"pattern p = {text}")
        q, k, v = (
            torch.randn(1, heads, length, size, device="cuda", dtype=torch.bfloat16, requires_grad=True)
            for heads, length in ((4, n_q), (2, n), (2, n))
        )
        more = {} if ends is None else {"documents": torch.tensor(ends, device="cuda", dtype=torch.int32)}
        for deterministic in (True,) if small else (True, False):
            for _ in range(2):  # launched by Triton, and then as known launches
                out, lse = attend(q, k, v, return_lse=True, deterministic=deterministic, **more)
                torch.autograd.grad((out, lse), (q, k, v), (torch.randn_like(out), torch.randn_like(lse)))
                torch.cuda.synchronize()
        print(text, flush=True)


if __name__ == "__main__":
    main()
