"""A step of decoding on a CPU: its work depends on the keys that the row keeps, and not on how many there are."""

from __future__ import annotations

import pytest
import torch
from support.generated import mask_of, module_of, pattern_of
from torch.utils._python_dispatch import TorchDispatchMode

from sparsec.kernels.cpu.torch_path import forward_cpu
from sparsec.kernels.program.arguments import Call
from sparsec.testing import dense_attention


class Elements(TorchDispatchMode):
    """Counts the elements that operations write or read beside views, and the operations.

    What keys are selected from is not read as a whole.
    """

    def __init__(self) -> None:
        super().__init__()
        self.elements = self.operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            read = args[1:] if func is torch.ops.aten.index_select.default else args
            tensors = [x for x in (*read, *(result if isinstance(result, tuple) else [result])) if hasattr(x, "numel")]
            self.elements += sum(x.numel() for x in tensors)
            self.operations += 1
        return result


def work(pattern, n: int, dtype: torch.dtype, n_q: int) -> tuple[int, int]:
    """Elements and operations of the last n_q of n positions, with two query heads for each key head."""
    q, k, v = torch.ones(2, 4, n_q, 16, dtype=dtype), *torch.ones(2, 2, 2, n, 16, dtype=dtype)
    with Elements() as counted:
        forward_cpu(module_of(pattern)._PROGRAM, Call(q, k, v, 0.25, n - n_q))
    return counted.elements, counted.operations


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("text", "n_q"),
    [
        ("past(50)", 1),
        ("sinks(4) | past(50)", 1),
        ("sinks(4) | past(50)", 7),
        ("causal & same_block(128)", 5),
        ("causal & dilated(512, 8)", 1),
        ("causal & (past(64) | q - k < 1024 & stride(64))", 1),
    ],
)
def test_a_step_costs_the_same_at_every_length(text, n_q, dtype):
    pattern = pattern_of(f"pattern p = {text}")
    assert work(pattern, 4096, dtype, n_q) == work(pattern, 65536, dtype, n_q)


@pytest.mark.parametrize("text", ["causal & (same_block(64) | k % 64 >= 60)", "causal & k % 7 == 3 | past(5)"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_steps_are_right(text, dtype):
    """Gathered keys, short rows in low precision: against the dense reference."""
    pattern = pattern_of(f"pattern p = {text}")
    function = module_of(pattern).p
    for n_q, n in ((1, 200), (3, 517), (97, 300)):
        problem = dense_attention.random_problem(mask_of(pattern, n_q, n), heads=4, kv_heads=2, dtype=dtype)
        assert all(each.holds for each in dense_attention.compare(dense_attention.run(function, problem), problem))
