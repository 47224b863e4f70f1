"""Sharded attention within what else torch does to a model: FSDP2, checkpoints, compiled graphs."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.sharded import everywhere
from support.sharded_model import composed

KINDS = ("fsdp, checkpoint", "fsdp")


@pytest.mark.parametrize(
    "kinds", [KINDS, pytest.param(("compile", "compile, checkpoint", "fsdp, compile"), marks=pytest.mark.full)]
)
def test_a_layer_is_that_of_one_process(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    """Graphs that torch's compiler keeps on disk are the rank's own, too: sizes of what arrives differ."""
    for found in everywhere(2, tmp_path, composed, kinds):
        assert found
        for name, difference in found.items():
            assert difference < 1e-11, name
