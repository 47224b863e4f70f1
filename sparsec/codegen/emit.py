"""Plan -> the text of a Python module that needs torch alone on a CPU, torch and triton on a GPU."""

from __future__ import annotations

import builtins
import hashlib
import keyword
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cache
from typing import TypeVar

import jinja2

from sparsec import resources
from sparsec.codegen import program, support
from sparsec.codegen.arguments import data_of
from sparsec.codegen.choices import choices_of
from sparsec.codegen.header import glossary, header
from sparsec.codegen.shape import named_shapes
from sparsec.codegen.sharing import Shared, shared
from sparsec.codegen.tuned import Tuned
from sparsec.codegen.variants import VariantText, tables
from sparsec.ir.ranges import MOST_POSITIONS
from sparsec.lower.terms import Term
from sparsec.plan.nodes import Plan
from sparsec.sets.symbolic_tiles import MIN_TILE

_LONGEST_LINE = 120
_OF_STEPS = "A step of decoding: the last rows of a sequence against a cache of keys."
_PLACEHOLDER = "op_name_of_this_content"
_TAKEN = {"torch", "triton", "tl", "sk", support.NAME}  # the support library is a file beside the module


def emit(plan: Plan, notes: str = "", tuned: Tuned | None = None, terms: Sequence[Sequence[Term]] = ()) -> str:
    """The module's text, with `notes` (a picture, facts) as comments at its top, the tuned settings that its kernels
    have, and comments that name the `terms` of each condition.  Equal inputs give equal bytes.
    """
    made = kernels_of(plan, terms)
    data = data_of(plan.pattern)
    choices = choices_of(plan.pattern.inputs, plan.pattern.choice_inputs)
    served = [text for _, texts in made.groups for text in texts]
    regions = _named((text.stem, _regions(plan, text)) for text in served)
    kernels = _named((text.stem, _kernels(text)) for text in served)
    body = (
        _environment()
        .get_template("module.py.jinja")
        .render(
            header=header(plan, notes),
            glossary=glossary("".join(made.answers)),
            import_support=support.INSIDE,
            answers=made.answers,
            tables=[program.table(leaf, index) for index, leaf in enumerate(tables(plan))],
            choices=list(choices.values()),
            inputs=[program.declared(each, data, choices) for each in data.inputs],
            choice_inputs=[program.declared(each, data, choices) for each in plan.pattern.choice_inputs],
            given=[program.described(each) for each in (*data.inputs, *plan.pattern.choice_inputs) if not each.choice],
            tuned_table=tuned.table(named_shapes(plan, made.groups)) if tuned and tuned.settings else "",
            min_tile=MIN_TILE,
            most_positions=program.power_of_two(MOST_POSITIONS),
            regions=_each_region_once(regions),
            kernels={end: own for own, end in kernels.items()},
            groups=[
                (heads, [_served(text, regions[_regions(plan, text)], kernels[_kernels(text)]) for text in texts])
                for heads, texts in made.groups
            ],
            op=_PLACEHOLDER,
            heads=plan.pattern.heads,
            name=function_name(plan.pattern.name),
        )
    )
    if any(len(line) > _LONGEST_LINE for line in body.splitlines()):  # a bound or a condition with no place to break
        body = "# ruff: noqa: E501\n" + body
    digest = hashlib.sha256(body.encode()).hexdigest()[:12]
    return body.replace(_PLACEHOLDER, f"{plan.pattern.name}_{digest}")


def emit_steps(plan: Plan) -> str:
    """The text of the module that decodes, from the plan of `sparsec.plan.decode`."""
    template = _environment().get_template("decode_answers.py.jinja")
    made = shared(plan, lambda variant: template.render(variant=variant))
    served = [(heads, text, _step_run(text)) for heads, (text,) in made.groups]
    runs = _named((text.stem, run) for _, text, run in served)
    return (
        _environment()
        .get_template("decode.py.jinja")
        .render(
            header=header(plan, _OF_STEPS),
            import_support=support.INSIDE,
            answers=made.answers,
            tables=[program.table(leaf, index) for index, leaf in enumerate(tables(plan))],
            variants={suffix: run for run, suffix in runs.items()},
            most_positions=program.power_of_two(MOST_POSITIONS),
            groups=[(heads, runs[run], text.numbers) for heads, text, run in served],
        )
    )


_Served = TypeVar("_Served", bound=Hashable)
_Regions = tuple[tuple[str, str], ...]


def _regions(plan: Plan, text: VariantText) -> _Regions:
    """The regions of a variant, with why they are what they are."""
    return tuple((program.region(each, tables(plan), text), each.region.why) for each in text.answers)


def _served(text: VariantText, regions: str, kernels: str) -> str:
    """The arguments of sk.Variant, from the ends of the names of its regions and kernels."""
    own = f"sk.numbered(_REGIONS{regions}, {text.numbers})" if text.numbers else f"_REGIONS{regions}"
    return f"{text.variant.from_n}, {own}, _KERNELS{kernels}"


def _kernels(text: VariantText) -> tuple[str, ...]:
    """The kernels of a variant in launch order."""
    return tuple(program.kernel(each, text) for each in text.kernels)


def _step_run(text: VariantText) -> tuple[str, ...]:
    """What serves a step of decoding: regions."""
    return tuple(program.step_region(each, text.stem if text.score else None) for each in text.answers)


def _named(served: Iterable[tuple[str, _Served]]) -> dict[_Served, str]:
    """What serves some heads and lengths, each once, with the end of its name, from the stem of its variant.

    Heads that share answers differ in more than numbers where their gathered keys or long programs do.
    """
    named: dict[_Served, str] = {}
    for stem, each in served:
        alike = sum(name == stem or name.startswith(f"{stem}_also_") for name in named.values())
        named.setdefault(each, f"{stem}_also_{alike}" if alike else stem)
    return named


def _each_region_once(named: Mapping[_Regions, str]) -> dict[str, list[tuple[str, str]]]:
    """The lists of regions by the ends of their names: a region that an earlier list has is taken from it."""
    first: dict[str, str] = {}
    lists = {}
    for regions, end in named.items():
        texts = [(first[text], "") if text in first else (f"sk.Region({text})", why) for text, why in regions]
        lists[end] = texts
        for place, (text, _) in enumerate(regions):
            first.setdefault(text, f"_REGIONS{end}[{place}]")
    return lists


def kernels_of(plan: Plan, terms: Sequence[Sequence[Term]] = ()) -> Shared:
    """The texts of the answers of a plan, and which heads they serve."""
    template = _environment().get_template("answers.py.jinja")
    return shared(plan, lambda variant: template.render(variant=variant), terms)


def function_name(name: str) -> str:
    """The name of the generated function: the pattern's, with a `_` where Python or the module needs that name.

    The support library's names give way (`support.standalone`): what it calls its own changes with every version.
    """
    python = keyword.iskeyword(name) or keyword.issoftkeyword(name) or hasattr(builtins, name)
    taken = name in _TAKEN or name.startswith("_")
    return f"{name}_" if python or taken else name


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: resources.text(f"templates/{name}")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
