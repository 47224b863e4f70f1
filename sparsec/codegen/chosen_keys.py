"""What lists of single keys add to a region, as text: which pairs of a query and a key of its list are kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sparsec.codegen.arguments import DataArguments
from sparsec.codegen.dialects import Triton
from sparsec.ir import nodes as ir
from sparsec.ir.chosen_keys import ChosenKeys
from sparsec.ir.inputs import inputs_read


@dataclass(frozen=True, slots=True)
class ChosenKeysText:
    """What the lists of one input add."""

    input: int  # its number
    name: str  # of the function that says which of their pairs are kept
    keep: list[str]  # empty: all
    inputs: tuple[int, ...]  # that this function reads

    @property
    def made(self) -> str:
        """What makes it in a module."""
        said = [str(self.input), *([self.name] if self.keep else []), *([str(self.inputs)] if self.inputs else [])]
        return f"sk.ChosenKeys({', '.join(said)})"


def chosen_keys_text(
    lists: Iterable[ChosenKeys], triton: Triton, data: DataArguments, suffix: str
) -> tuple[ChosenKeysText, ...]:
    """The texts of a region whose names end in `suffix`."""
    return tuple(
        ChosenKeysText(
            data.number(own.name),
            f"_keep_chosen_{place}{suffix}",
            [] if own.kept == ir.TRUE else triton.lines(own.kept, "return "),
            tuple(sorted(map(data.number, inputs_read(own.kept)))),
        )
        for place, own in enumerate(lists)
    )
