"""What an operator chooses itself, as text: which blocks it may choose among, and how."""

from __future__ import annotations

from dataclasses import dataclass

from sparsec.codegen.answers import as_tensor, stop_of
from sparsec.codegen.dialects import Torch
from sparsec.codegen.printer import Printer
from sparsec.ir import nodes as ir
from sparsec.ir.chosen import Choice, Chooser, Hashing, Routing
from sparsec.ir.inputs import Input
from sparsec.plan.choices import segments_of


@dataclass(frozen=True, slots=True)
class Eligible:
    """The functions of a set of pairs: whether a pair is in it, and if that is known, the keys that queries see."""

    name: str
    keep: list[str]
    ranges: list[tuple[str, str]] | None

    @property
    def made(self) -> str:
        """What makes it in a module."""
        return f"sk.Eligible(_{self.name}{f', _{self.name}_ranges' if self.ranges is not None else ''})"


@dataclass(frozen=True, slots=True)
class ChoiceText:
    """The text of one choice, and of the sets that it needs."""

    choice: Chooser
    sets: tuple[Eligible, ...]
    given: int | None  # which of the real numbers of a call it is about

    @property
    def made(self) -> str:
        """What makes it in a module."""
        own = self.choice
        if isinstance(own, Hashing):
            return f"sk.Hashing(buckets={own.buckets}, rounds={own.rounds}, chunk={own.chunk}, seed={own.seed})"
        if isinstance(own, Routing):
            return f"sk.Routing(taken={own.count}, given={self.given})"
        score = "given" if own.given else own.score
        more = (", shared=True" if own.shared else "") + (f", given={self.given}" if own.given else "")
        more += f", percent={own.percent}" if own.percent < 100 else ""
        sets = ", ".join(f"{name}={each.made}" for name, each in zip(("among", "first"), self.sets, strict=False))
        return f'sk.Choice(listed={own.count}, size={own.size}, rows={own.rows}, score="{score}", {sets}{more})'


class _Whole(Torch):
    """Conditions as one text, without tables."""

    condition = Printer.condition


def choices_of(inputs: tuple[Input, ...], reals: tuple[Input, ...]) -> dict[str, ChoiceText]:
    """The texts of all choices, by the names of the inputs that say what is chosen."""
    found: dict[str, ChoiceText] = {}
    numbers = {each.name: number for number, each in enumerate(reals)}
    for own in (each.choice for each in inputs if each.choice):
        sets = []
        if isinstance(own, Choice):
            sets.append(_eligible(f"among_{len(found)}", own.among))
            if own.keep != ir.FALSE:
                sets.append(_eligible(f"first_{len(found)}", own.keep))
        source = own.centroids if isinstance(own, Routing) else own.score if isinstance(own, Choice) else ""
        found[own.name] = ChoiceText(own, tuple(sets), numbers.get(source))
    return found


def _eligible(name: str, condition: ir.Set) -> Eligible:
    torch, segments = _Whole(), segments_of(condition)
    keep = torch.lines(as_tensor(condition), "return ")
    if segments is None:
        return Eligible(name, keep, None)
    ends = ((ir.Const(0) if each.first is None else each.first, stop_of(each, "n")) for each in segments)
    return Eligible(name, keep, [(torch.integer(first), torch.integer(stop)) for first, stop in ends])
