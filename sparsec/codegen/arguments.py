"""The inputs of a pattern as arguments of its kernels: entries as they are given, or sorted for tests of membership."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sparsec.ir import nodes as ir
from sparsec.ir.inputs import Input, reads


@dataclass(frozen=True, slots=True)
class DataArgument:
    """One tensor that masks in kernels read."""

    number: int  # of the input
    name: str  # in kernels
    members: bool  # it is a list that is asked for its members, and sorted


@dataclass(frozen=True, slots=True)
class DataArguments:
    """All tensors of a pattern that masks in kernels read, in order."""

    inputs: tuple[Input, ...]
    all: tuple[DataArgument, ...]

    def by_position(self, name: str) -> bool:
        """Whether an input has an entry for each position."""
        return any(each.name == name and each.axes[-1:] == ("n",) for each in self.inputs)

    def of_entries(self, name: str) -> str:
        """What functions that read an entry take first: the tensor, the place of a pair, and the tensor's form."""
        return self._of(name, members=False)

    def of_members(self, name: str) -> str:
        """The same of functions that test for membership."""
        return self._of(name, members=True)

    def _of(self, name: str, members: bool) -> str:
        for place, each in enumerate(self.all):
            if self.inputs[each.number].name == name and each.members == members:
                return f"{each.name}, at, FORMS[{place}]"
        raise KeyError(name)

    @property
    def text(self) -> str:
        """The arguments as functions of a module take them, after tables."""
        return "".join(f", {each.name}" for each in self.all) + (", FORMS" if self.all else "")


def data_arguments(inputs: tuple[Input, ...], conditions: Iterable[ir.Set]) -> DataArguments:
    """The tensors that some conditions read of the inputs of a pattern."""
    found = {(read.name, isinstance(read, ir.ElementOf)) for condition in conditions for read in reads(condition)}
    return DataArguments(
        inputs,
        tuple(
            DataArgument(number, f"{'MEMBERS' if members else 'INPUT'}_{number}", members)
            for number, each in enumerate(inputs)
            for members in (False, True)
            if (each.name, members) in found
        ),
    )
