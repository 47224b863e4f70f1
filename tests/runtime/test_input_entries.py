"""What is read of inputs: of several rows and heads at once, and of positions whose keys are not passed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sparsec
from sparsec.kernels.program.input_entries import entries_in_sequences, is_entry
from sparsec.kernels.program.inputs import Input


@settings(max_examples=25)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 5), st.integers(0, 999))
def test_members_of_the_lists_of_several_rows_and_heads(rows: int, heads: int, length: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    own = Input("u", "int", ("B", "H", "t"), 1)
    x = torch.randint(-4, 4, (rows, heads, length), generator=generator)
    lines = torch.zeros(5, 7, dtype=torch.int64)
    lines[:, 0] = torch.randint(rows, (5,), generator=generator)
    value = torch.randint(-6, 6, (heads, 5), generator=generator)
    found = is_entry(entries_in_sequences(own, x, torch.arange(heads)[:, None], lines), value)
    wanted = [[int(value[h, line]) in x[lines[line, 0], h].tolist() for line in range(5)] for h in range(heads)]
    assert found.tolist() == wanted


@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("causal & doc[q] == doc[k]", ["doc"]),
        ("causal & (stride(4) | cls[q])", ["cls"]),
        ("causal & (k in u | q - k in u)", ["u"]),
        ("past(30) | doc[k - 8] == 1 & k <= q", ["doc"]),
    ],
)
def test_a_cache_that_has_dropped_its_oldest_keys(condition: str, names: list[str], rows: int) -> None:
    """Inputs of positions have an entry for each key that is passed; those of keys before are outside."""
    declared = "input doc: int[B, n] input cls: bool[n] input u: int[t] "
    attend = sparsec.compile(f"{declared}pattern p = {condition}")
    whole = sparsec.compile(f"{declared}pattern p = k >= 37 & ({condition}) | k == q & q < 37")  # no row is empty
    n, gone, generator = 110, 37, torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 2, n, 16, generator=generator)
    q, place = q[:, :, n - rows :], torch.arange(n)
    doc = torch.where(place < gone, -1, place // 25).expand(2, n)  # before, what nothing is compared with
    full = {"doc": doc, "cls": torch.rand(n, generator=generator) < 0.2, "u": torch.tensor([3, 50, 90])}
    passed = {name: full[name] if name == "u" else full[name][..., gone:] for name in names}
    found, ours = _with_gradients(attend, q, k[:, :, gone:], v[:, :, gone:], k_offset=gone, **passed)
    wanted, theirs = _with_gradients(whole, q, k, v, **{name: full[name] for name in names})
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(ours, (theirs[0], *(x[:, :, gone:] for x in theirs[1:])))


def _with_gradients(attend, *tensors: torch.Tensor, **more) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    leaves = [x.clone().requires_grad_() for x in tensors]
    out = attend(*leaves, **more)
    g = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    return out.detach(), torch.autograd.grad(out, leaves, g)
