"""Scores and their derivatives -> Python text about tensors on a CPU."""

from __future__ import annotations

from sparsec.codegen.arguments import DataArguments
from sparsec.codegen.dialects import Torch
from sparsec.codegen.printer import Printer
from sparsec.codegen.score_dialects import Scores
from sparsec.ir import nodes as ir
from sparsec.ir.scores import ReadReal, Real, constant


class TorchScores(Scores):
    """Text about tensors on a CPU."""

    zeros = "torch.zeros_like(s)"

    def __init__(self, data: DataArguments) -> None:
        super().__init__(data)
        self.positions = _TorchPositions(inputs=data.inputs)

    def _whole(self, node: ir.Int) -> str:
        return f"sk.as_real({self.positions.integer(node)}, s)"

    def _read(self, node: ReadReal) -> str:
        indices = "".join(f", {self.positions.integer(index)}" for index in node.indices)
        return f"sk.real_entry(INPUT_{self.data.number(node.name)}{indices})"

    def _function(self, name: str) -> str:
        return f"torch.{name}"

    def _extreme(self, kind: str, left: Real, right: Real) -> str:
        other = right if constant(right) is not None else left if constant(left) is not None else None
        if other is None:
            return f"torch.{kind}imum({self.real(left)}, {self.real(right)})"
        tensor = left if other is right else right
        return f"torch.clamp({self.real(tensor)}, {'max' if kind == 'min' else 'min'}={self.real(other)})"

    def _where(self, test: str, then: Real, other: Real) -> str:
        return f"sk.choose_real({test}, {self.real(then)}, {self.real(other)}, s)"


class _TorchPositions(Torch):
    """Conditions of scores: the head is a tensor, too, and no table stands beside them."""

    tensors = Torch.tensors | {"h"}

    def condition(self, node: ir.Set) -> str:
        return Printer.condition(self, node)

    def _operand(self, node: ir.Set, lead: str) -> list[str]:
        return Printer._operand(self, node, lead)


class TorchIndices(_TorchPositions):
    """Indices of reads: the number of keys is a tensor, too, of several sequences."""

    tensors = _TorchPositions.tensors | {"n"}
