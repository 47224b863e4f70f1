"""Sharded attention within what else torch does to a model: FSDP2, checkpoints, compiled graphs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch.distributed.tensor.experimental._attention as context_parallel
from support.group import everywhere
from support.sharded_model import composed, cut_as_torch

KINDS = ("fsdp, checkpoint", "fsdp", "plan")


@pytest.mark.parametrize(
    "kinds", [KINDS, pytest.param(("compile", "compile, checkpoint", "fsdp, compile"), marks=pytest.mark.full)]
)
def test_a_layer_is_that_of_one_process(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    """Graphs that torch's compiler keeps on disk are the rank's own, too: sizes of what arrives differ."""
    for found in everywhere(2, tmp_path, composed, kinds):
        assert found
        for name, difference in found.items():
            assert difference < 1e-11, name


@pytest.mark.full
@pytest.mark.skipif(not hasattr(context_parallel, "_context_parallel_shard"), reason="this torch cuts otherwise")
def test_layouts_are_those_of_torch(tmp_path: Path) -> None:
    assert all(everywhere(2, tmp_path, cut_as_torch))
