"""The kernels of a variant as templates receive them: nodes of the plan, names, parameters and printed answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sparsec.codegen.answers import Answers, answers
from sparsec.codegen.origins import Origins
from sparsec.ir import nodes as ir
from sparsec.plan.nodes import Kernel, Plan, Region, Variant

_SIZES = ("GROUP", "HEAD_DIM", "BLOCK_M", "BLOCK_N", "BLOCK_D", "PRECISION", "TMA", "OWN_TMA")


@dataclass(frozen=True, slots=True)
class KernelText:
    """A kernel of the plan in a module."""

    kernel: Kernel
    name: str
    parameters: str
    answers: tuple[Answers, ...]  # of its regions

    @property
    def told(self) -> dict[str, str]:
        """The functions that it is told, by the names of its constants."""
        found: dict[str, str] = {}
        for own, cover in zip(self.answers, self.kernel.covers, strict=True):
            if cover.from_list:  # with its masks
                continue
            wanted = ["keep"] if own.region.keeps else []
            wanted += ["full"] if own.region.asks_full else []
            wanted += [("queries" if self.kernel.kind == "dkdv" else "keys")] if cover.segments else []
            found |= {own.asked(answer): replace(own, open=False).asked(answer) for answer in wanted if own.open}
        return found

    def opened(self) -> KernelText:
        """The same kernel, told its answers by constants, so that others that differ in these alone can share it."""
        made = replace(self, answers=tuple(replace(own, open=True) for own in self.answers))
        constants = filled([f"{name}: tl.constexpr" for name in made.told])
        return replace(made, parameters="\n".join([self.parameters, *constants]))


@dataclass(frozen=True, slots=True)
class VariantText:
    """A variant of the plan in a module."""

    variant: Variant
    stem: str  # begins the suffixes of its names
    by_head: bool  # kernels read from lists which heads they serve
    numbers: tuple[int, ...]  # that its kernels take as constants
    answers: tuple[Answers, ...]
    kernels: tuple[KernelText, ...]
    on_gpu: bool  # there are kernels


def variant_text(
    plan: Plan, variant: Variant, stem: str = "", numbers: tuple[int, ...] = (), origins: Sequence[Origins] = ()
) -> VariantText:
    """The texts of a variant whose names end in `stem`; `origins` of its regions."""
    own, everyone = _tables(variant.regions), tables(plan)
    letters = "abcdefgh" if len(variant.regions) > 1 else " "
    made = tuple(
        answers(region, _suffix(stem, letter.strip()), own, everyone, plan.pattern.inputs, bool(numbers), origin)
        for region, letter, origin in zip(variant.regions, letters, origins or (None,) * len(letters), strict=False)
    )
    kernels = tuple(
        KernelText(
            kernel,
            f"_{kernel.kind}{_suffix(stem, kernel.name)}",
            _parameters(kernel, stem, plan.by_head, bool(numbers)),
            tuple(made[variant.regions.index(region)] for region in kernel.regions),
        )
        for kernel in (() if plan.pattern.inputs else variant.kernels)
    )
    return VariantText(variant, stem, plan.by_head, numbers, made, kernels, not plan.pattern.inputs)


def tables(plan: Plan) -> tuple[ir.Table, ...]:
    """The tables of a plan in the order of their numbers."""
    return _tables(region for group in plan.groups for variant in group.variants for region in variant.regions)


def _tables(regions: Iterable[Region]) -> tuple[ir.Table, ...]:
    return tuple(dict.fromkeys(leaf for region in regions for leaf in ir.tables(region.mask)))


def _suffix(stem: str, name: str) -> str:
    return f"{stem}_{name}" if name else stem


def _parameters(kernel: Kernel, stem: str, by_head: bool, numbered: bool) -> str:
    """The parameters of a kernel, in lines: tensors; strides and numbers; constants.  Launches bind them by name.

    Strides are of Q, K, V, of g, the gradient of the output, of o, the output read again, and of r, the result.
    """
    by_key, backward = kernel.kind == "dkdv", kernel.kind != "forward"
    tensors = [*kernel.reads, *kernel.writes]
    tensors += [f"{x}_GATHERED_{name.upper()}" for name, _ in kernel.collects for x in ("DK", "DV")]
    tensors = [name.replace("_GATHERED", f"_GATHERED{stem.upper()}") for name in tensors]
    tensors += (["HEADS", "KV_HEADS", "FIRST_HEAD"] if by_key else ["HEADS"]) if by_head else []
    tensors += kernel.beside
    strided = "qkv" + "g" * backward + "o" * ("DLSE" in tensors) + "r" * (kernel.end != "carry")
    strides = [f"{x}_{axis}" for x in strided for axis in ("bhn" if x in "kv" else "bhm")]
    numbers = ["heads", "n_q", *(["n_rows"] if "ROW_STATS" in tensors else [])]
    numbers += [*(["n_class_rows"] if "CLASS_STATS" in tensors else []), "n", "q_offset"]
    numbers += [
        *(["scale"] if backward else []),
        "scale_log2",
        *(["split_tiles", "splits"] if kernel.split_prefix else []),
    ]
    constants = [*_SIZES, *(["WHOLE"] if kernel.block > 1 else [])]
    constants += ["SHARED"] if by_key and by_head and kernel.end == "store" else []
    constants += [*(["NUMBERS"] if numbered else []), *(["HAS_DLSE"] if "DLSE" in tensors else [])]
    typed = [f"{name}: tl.constexpr" for name in constants]
    return "\n".join(line for some in (tensors, [*strides, *numbers], typed) for line in filled(some))


def filled(names: list[str]) -> list[str]:
    """Names as lines, a comma after each."""
    lines = [""]
    for name in names:
        lines = [*lines, ""] if len(lines[-1]) + len(name) > 110 else lines
        lines[-1] += f"{' ' if lines[-1] else ''}{name},"
    return lines
