"""A variant as templates receive it: nodes of the plan, names and printed answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sparsec.codegen.answers import Answers, Whole, answers, whole_text
from sparsec.codegen.arguments import data_of
from sparsec.codegen.origins import Origins
from sparsec.codegen.scores import ScoreText, score_text
from sparsec.ir import nodes as ir
from sparsec.plan.nodes import Contiguous, Kernel, Plan, Region, Variant

_LONGEST_LINE = 104  # of arguments, which templates indent


@dataclass(frozen=True, slots=True)
class KernelText:
    """A kernel of the plan in a module."""

    kernel: Kernel
    name: str


@dataclass(frozen=True, slots=True)
class VariantText:
    """A variant of the plan in a module."""

    variant: Variant
    stem: str  # begins the suffixes of its names
    by_head: bool  # kernels serve lists of heads
    numbers: tuple[int, ...]  # that its kernels take as constants
    answers: tuple[Answers, ...]
    kernels: tuple[KernelText, ...]
    score: ScoreText | None = None
    whole: Whole | None = None  # where inputs that its score reads have gradients

    @property
    def printed(self) -> tuple[Answers, ...]:
        """The answers of its regions, and of these without lists of single keys."""
        return tuple(each for own in self.answers for each in (own, own.beside_keys) if each)

    @property
    def prints_kept(self) -> bool:
        """Whether `whole` is a function of its own, and not the `_keep` of the only region."""
        own = self.answers[0]
        same = len(self.answers) == 1 and own.region.keeps and isinstance(own.region.layout, Contiguous)
        return self.whole is not None and not (same and self.whole.keep == own.keep and own.tables == self.whole.tables)


def variant_text(
    plan: Plan, variant: Variant, stem: str = "", numbers: tuple[int, ...] = (), origins: Sequence[Origins] = ()
) -> VariantText:
    """The texts of a variant whose names end in `stem`; `origins` of its regions."""
    own, everyone = _tables(variant.regions), tables(plan)
    letters = "abcdefgh" if len(variant.regions) > 1 else " "
    data = data_of(plan.pattern)
    made = tuple(
        answers(region, _suffix(stem, letter.strip()), own, everyone, data, bool(numbers), origin)
        for region, letter, origin in zip(variant.regions, letters, origins or (None,) * len(letters), strict=False)
    )
    kernels = tuple(KernelText(kernel, f"{kernel.kind}{_suffix(stem, kernel.name)}") for kernel in variant.kernels)
    conditions = tuple(region.condition for region in variant.regions)
    side_by_side = all(isinstance(region.layout, Contiguous) for region in variant.regions)
    score = score_text(variant.score, conditions, bool(numbers), data, stem, side_by_side)
    whole = whole_text(variant, own, everyone, data, bool(numbers)) if score and score.reads else None
    return VariantText(variant, stem, plan.by_head, numbers, made, kernels, score, whole)


def tables(plan: Plan) -> tuple[ir.Table, ...]:
    """The tables of a plan in the order of their numbers."""
    return _tables(region for group in plan.groups for variant in group.variants for region in variant.regions)


def _tables(regions: Iterable[Region]) -> tuple[ir.Table, ...]:
    return tuple(dict.fromkeys(leaf for region in regions for leaf in ir.tables(region.mask)))


def _suffix(stem: str, name: str) -> str:
    return f"{stem}_{name}" if name else stem


def filled(names: list[str]) -> list[str]:
    """Names as lines, a comma after each."""
    lines = [""]
    for name in names:
        lines = [*lines, ""] if len(lines[-1]) + len(name) > _LONGEST_LINE else lines
        lines[-1] += f"{' ' if lines[-1] else ''}{name},"
    return lines
