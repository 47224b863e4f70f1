"""Files of `sparsec compile` on a CUDA device, without sparsec: documents, data of the call, lists, decoding steps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sparsec
from sparsec import pipeline
from sparsec.codegen import support
from sparsec.source import Source

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

LENGTH, ENDS = 2905, [5, 5, 300, 301, 1100, 1100, 2900]
TEXTS = {
    "documents": "pattern documents = causal",  # in the Hopper tier, where there is one
    "tables": "pattern tables = past(64) | random_past_blocks(32, 2, 1)",
    "asked": "input doc: int[n] input cls: bool[B, n] pattern asked = past(90) | cls[q] | doc[q] == doc[k] & cls[k]",
    "slashes": "input u: int[H, t] input s: int[r] pattern slashes = causal & (k in u | q - k in s | past(20))",
}
RUN = """
import importlib, sys
import torch

sys.modules["sparsec"] = None  # as if it were not installed
found = {}
for name, (*tensors, g, given) in torch.load("calls.pt").items():
    attend = getattr(importlib.import_module(name), name)
    tensors, given = [x.cuda().requires_grad_() for x in tensors], {key: x.cuda() for key, x in given.items()}
    out = attend(*tensors, **given)
    found[name] = [out, *torch.autograd.grad(out, tensors, g.cuda())]
    if name == "documents":
        q, k, v = (x.detach() for x in tensors)
        lengths = torch.tensor([700], device="cuda")
        found["step"] = [attend(q[:, :, :1], k, v), attend(q[:, :, :1], k, v, lengths=lengths)]
torch.save({name: [x.detach().cpu() for x in results] for name, results in found.items()}, "found.pt")
"""


def test_generated_files(tmp_path: Path) -> None:
    """What they find is what the package finds, bit by bit."""
    generator = torch.Generator().manual_seed(0)
    documents = {"documents": torch.tensor(ENDS, dtype=torch.int32)}
    cls = torch.rand(1, LENGTH, generator=generator) < 0.01
    given = {
        "documents": documents,
        "tables": documents,
        "asked": {"doc": torch.arange(LENGTH) // 400, "cls": cls, **documents},
        "slashes": {"u": torch.randint(LENGTH, (4, 5), generator=generator), "s": torch.tensor([30, 700])},
    }
    calls, expected = {}, {}
    (tmp_path / f"{support.NAME}.py").write_text(support.text())
    for name, text in TEXTS.items():
        (tmp_path / f"{name}.py").write_text(support.beside(pipeline.compile(Source("test", text)).source, name))
        size = 128 if name == "documents" else 64
        drawn = [torch.randn(1, heads, LENGTH, size, generator=generator).bfloat16() for heads in (4, 2, 2, 4)]
        calls[name] = *drawn, given[name]
        attend, tensors = sparsec.compile(text), [x.cuda().requires_grad_() for x in drawn[:3]]
        out = attend(*tensors, **{key: x.cuda() for key, x in given[name].items()})
        expected[name] = [out, *torch.autograd.grad(out, tensors, drawn[3].cuda())]
        if name == "documents":
            q, k, v = (x.detach() for x in tensors)
            lengths = torch.tensor([700], device="cuda")
            expected["step"] = [attend(q[:, :, :1], k, v), attend(q[:, :, :1], k, v, lengths=lengths)]
    torch.save(calls, tmp_path / "calls.pt")
    ran = subprocess.run([sys.executable, "-c", RUN], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found = torch.load(tmp_path / "found.pt")
    assert found.keys() == expected.keys()
    for name, results in expected.items():
        assert all(torch.equal(x, y.detach().cpu()) for x, y in zip(found[name], results, strict=True)), name
