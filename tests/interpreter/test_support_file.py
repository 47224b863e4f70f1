"""Kernels of a file of `sparsec compile` that holds the library: as those of the package, bit by bit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sparsec import pipeline
from sparsec.codegen import support
from sparsec.kernels.launches import prepare
from sparsec.kernels.machine.settings import Settings
from sparsec.kernels.operator import packed
from sparsec.kernels.program.arguments import Call, Upstream
from sparsec.kernels.program.inputs import checked_inputs
from sparsec.kernels.sequences import sequences
from sparsec.runtime.module import module
from sparsec.source import Source

SMALL = Settings((32, 16, 4, 1, None), (32, 16, 4, 1, None), (16, 32, 4, 1, None))
PACKAGE = SimpleNamespace(
    Call=Call,
    Upstream=Upstream,
    backward_packed=packed.backward_packed,
    checked_inputs=checked_inputs,
    forward_packed=packed.forward_packed,
    of_documents=sequences.of_documents,
)
LENGTH, ENDS = 50, [0, 1, 20, 20, 37, 50]


def results(library: Any, program: Any, data: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Out, log-sum-exp and gradients of packed documents, by the kernels of a library."""
    shapes = ((1, heads, LENGTH, 16) for heads in (2, 1, 1, 2))
    generator = torch.Generator().manual_seed(0)
    q, k, v, g = (torch.randn(shape, generator=generator) for shape in shapes)
    given = library.checked_inputs(program.inputs, data, q, k)
    call = library.Call(q, k, v, 0.25, inputs=given, table=library.of_documents(torch.tensor(ENDS), LENGTH))
    out, lse = library.forward_packed(program, call)
    return [out, lse, *library.backward_packed(program, call, library.Upstream(g, out, lse))]


@pytest.mark.parametrize(
    "text, inputs",
    [
        (
            "input doc: int[n] input u: int[t] pattern p = causal & doc[q] == doc[k] | past(9) & ~(k in u)",
            {"doc": torch.arange(LENGTH) // 11, "u": torch.tensor([3, 7])},
        ),
        ("pattern p = past(9) | random_past_blocks(32, 2, 0)", {}),
    ],
    ids=["data", "tables"],
)
def test_same_results(text: str, inputs: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    source = pipeline.compile(Source("test", text)).source
    file = module(support.standalone(source), f"file_with_the_library_{len(inputs)}")
    own = module(source, f"module_of_the_package_{len(inputs)}")
    for library in (prepare, file):
        monkeypatch.setattr(library, "SETTINGS", dict.fromkeys(prepare.SETTINGS, SMALL))
    expected, found = results(PACKAGE, own._PROGRAM, inputs), results(file, file._PROGRAM, inputs)
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))
