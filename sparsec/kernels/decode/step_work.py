"""What the layers of a model share in a step of decoding: sums of the tiles that sequences visit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.launches.launch import Pass
from sparsec.kernels.machine.memory import as_contiguous


class StepWork:
    """The tiles of sequences with some lengths, summed once for all steps that are given this (`attend.work`)."""

    def __init__(self, lengths: Tensor) -> None:
        """ValueError where there are no lengths."""
        if not isinstance(lengths, Tensor) or lengths.dtype not in (torch.int32, torch.int64) or lengths.dim() != 1:
            got = f"{tuple(lengths.shape)} of {lengths.dtype}" if isinstance(lengths, Tensor) else repr(lengths)
            raise ValueError(f"[SP0612] lengths must be a tensor of int32 [B], got {got}")
        self.lengths = lengths
        self._version, self._captured = _version(lengths), _captured(lengths)
        self.made: dict[Pass | None, Tensor] = {}  # WORK of the steps so far

    def check(self, lengths: Any) -> None:
        """ValueError where a step has other lengths than these, or other numbers in them."""
        cure = "call attend.work(lengths) for every step, after its lengths are set"
        if lengths is not self.lengths:
            raise ValueError(f"[SP0612] work is about another tensor of lengths: {cure}")
        if _version(lengths) != self._version:
            raise ValueError(f"[SP0612] lengths have changed since attend.work(lengths) was called: {cure}")
        if _captured(lengths) != self._captured:
            cure = "call attend.work(lengths) where the steps are captured, so that each replay sums anew"
            raise ValueError(f"[SP0612] work is from outside of the CUDA graph, or from within another one: {cure}")

    def sums(self, run: Pass) -> Tensor:
        """WORK (`sparsec.kernels.decode.work`), by the pass that fills it in."""
        found = self.made.get(run)
        if found is None:
            found = self.made[run] = run({"LENGTHS": as_contiguous(self.lengths)})["WORK"]
        return found


def _version(x: Tensor) -> int:
    """A number that counts changes of a tensor; 0 where torch does not count them."""
    return 0 if x.is_inference() else x._version


def _captured(x: Tensor) -> bool:
    return x.is_cuda and torch.cuda.is_current_stream_capturing()
