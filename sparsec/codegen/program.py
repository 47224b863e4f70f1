"""What a module says at its end, as text: its tables, and which regions and kernels serve which heads and lengths."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping

from sparsec.codegen.answers import Answers
from sparsec.codegen.arguments import DataArguments
from sparsec.codegen.choices import ChoiceText
from sparsec.codegen.scores import ScoreText
from sparsec.codegen.variants import KernelText, VariantText, filled
from sparsec.ir import nodes as ir
from sparsec.ir.inputs import Input
from sparsec.plan.nodes import Grouped

_OF_SCORE = ("score", "score_gradient")


def region(answers: Answers, leaves: tuple[ir.Table, ...], variant: VariantText) -> str:
    """The arguments of sk.Region, in lines, of a variant."""
    score, stem = variant.score, variant.stem
    own, suffix = answers.region, answers.suffix
    said: dict[str, object] = {"stride": own.stride} if own.stride > 1 else {}
    said |= {"gathered": own.gathered} if own.gathered else {}
    said |= {"groups": _groups(own.layout, answers)} if isinstance(own.layout, Grouped) else {}
    said |= {"block": own.block} if own.block > 1 else {}
    said |= {"listed": True} if own.listed else {}
    fill = answers.asks_full_named or own.full_named == ir.TRUE
    said |= {"tables_fill": True} if own.columns.tables and fill else {}
    said |= {"full_named": f"_full_named_cpu{suffix}"} if answers.asks_full_named else {}
    said |= {"tables": _numbered_tables(answers)} if answers.tables else {}
    said |= {"inputs": answers.inputs} if answers.inputs else {}
    sides = [side for side, cover in (("rows", own.rows), ("columns", own.columns)) if cover.from_list]
    said |= {"tile_lists": tuple(sides)} if sides else {}
    for cover, side in ((own.rows, "rows"), (own.columns, "columns")):
        if cover.tables:
            said[f"{side}_tables"] = _tuple(f"_TABLE_{leaves.index(leaf)}" for leaf in cover.tables)
    if own.columns.tables or answers.judge:
        said["queries"] = f"_queries_cpu{suffix}"
    if answers.beside_choices:
        said["beside_choices"] = f"(_keys_beside_choices{suffix}, _queries_beside_choices{suffix})"
    if answers.beside_keys:
        beside = textwrap.indent(region(answers.beside_keys, leaves, variant), "    ").lstrip()
        said["beside_keys"] = f"sk.Region({beside})"
        said["chosen_keys"] = _tuple(each.made for each in answers.chosen_keys)
    asked_of_score: tuple[str, ...] = () if score is None else _OF_SCORE if score.gradient else _OF_SCORE[:1]
    asked_of_score += ("exponent",) if score is not None and score.exponent else ()
    asked_of_score += ("tilt",) if score is not None and score.tilt else ()
    asked_of_score += ("weight",) if score is not None and score.weight else ()
    asked_of_score += ("exponent_and_slope",) if score is not None and score.exponent_and_slope else ()
    device = [*answers.device, *((name, f"_{name}{stem}") for name in asked_of_score)]
    device += [] if score is None or score.most is None else [("most", repr(score.most))]
    said |= {name: f"_{name}_cpu{stem}" for name in asked_of_score if name in _OF_SCORE}
    said |= {"score_inputs": score.inputs} if score is not None and score.inputs else {}
    said |= {"reads": _reads(score, variant)} if score is not None and variant.whole is not None else {}
    tiles = "visit" if answers.keys.same_for_tiles else "keys_cpu"
    cpu = {"visit": "visit", "keys": tiles, "full": "full_cpu", "keep": "keep_cpu"}
    said = {name: f"_{function}{suffix}" for name, function in cpu.items()} | said
    return _filled(f'"{suffix}"', _answers(device), **said)


def step_region(answers: Answers, score: str | None = None) -> str:
    """The arguments of sk.StepRegion, in lines; `score`: the end of the name of its score's function."""
    own = answers.region
    asked = [*answers.device, *([("score", f"_score{score}")] if score is not None else [])]
    said: dict[str, object] = {"stride": own.stride} if own.stride > 1 else {}
    said |= {"gathered": own.gathered} if own.gathered else {}
    said |= {"exact": True} if own.rows.precision == "exact" else {}
    said |= {"tables": _numbered_tables(answers)} if answers.tables else {}
    return _filled(_answers(asked), **{"visit": f"_visit{answers.suffix}"} | said)


def _answers(asked: Iterable[tuple[str, str]]) -> str:
    """What makes the answers of a region: what is asked, and the function that answers."""
    arguments = textwrap.indent(_filled(**dict(asked)), "    ").lstrip()
    return f"sk.Answers({arguments})"


def _filled(*arguments: str, **named: object) -> str:
    """Arguments of a call, in lines."""
    return "\n".join(filled([*arguments, *(f"{name}={value}" for name, value in named.items())])).rstrip(",")


def _groups(layout: Grouped, answers: Answers) -> str:
    """What makes the groups of a region."""
    return f"sk.Groups(input={answers.data.number(layout.name)}, near={layout.near}, size={layout.size})"


def _numbered_tables(answers: Answers) -> str:
    return _tuple(f"({index}, _TABLE_{table})" for index, table in answers.tables)


def _reads(score: ScoreText, variant: VariantText) -> str:
    """What makes the reads of float inputs in a score, in lines."""
    assert variant.whole is not None
    stem, kept = variant.stem, "kept" if variant.prints_kept else "keep"
    lines = [f"sk.Reads(_{kept}{stem}, ({variant.whole.made}), ("]
    for place, read in enumerate(score.reads):
        functions = ", ".join(f"_{name}{stem}" for name in (f"slope_{place}", f"slope_{place}_cpu", f"indices_{place}"))
        inputs = f", {read.inputs}" if read.inputs else ""
        lines.append(f'    sk.Read({read.number}, "{read.by}", {functions}{inputs}),')
    return "\n".join([*lines, "))"])


def kernel(text: KernelText, variant: VariantText) -> str:
    """The arguments of sk.Kernel."""
    own, places = text.kernel, variant.variant.regions.index
    said: dict[str, object] = {"begin": f'"{own.begin}"'} if own.begin != "init" else {}
    said |= {"end": f'"{own.end}"'} if own.end != "store" else {}
    said |= {"split_prefix": power_of_two(own.split_prefix)} if own.split_prefix else {}
    said |= {"longest_first": True} if own.longest_first else {}
    said |= {"collects": _tuple(places(region) for _, region in own.collects)} if own.collects else {}
    named = (f"{name}={value}" for name, value in said.items())
    return ", ".join([f'"{own.kind}", "{text.name}"', _tuple(map(places, own.regions)), *named])


def power_of_two(number: int) -> str:
    """A number that stands for "more than there are" as 1 << 30, others as they are."""
    return f"1 << {number.bit_length() - 1}" if number >= 1 << 20 and not number & (number - 1) else str(number)


def _tuple(items: Iterable[object]) -> str:
    texts = [*map(str, items)]
    return f"({texts[0]},)" if len(texts) == 1 else f"({', '.join(texts)})"


def declared(own: Input, data: DataArguments, choices: Mapping[str, ChoiceText]) -> str:
    """What makes an input."""
    axes = _tuple(f'"{axis}"' for axis in own.axes)
    uses = _tuple(f'"{each.use}"' for each in data.all if data.inputs[each.number] is own)
    said: dict[str, object] = {"line": own.line} | ({"uses": uses} if uses != "()" else {})
    said |= {"sizes": own.sizes} if own.is_chosen or own.kind == "scores" else {}
    said |= {"choice": f"_CHOICE_{[*choices].index(own.name)}"} if own.choice else {}
    arguments = _filled(f'"{own.name}"', f'"{own.kind}"', axes, **said)
    return f"Input({arguments})"


def described(own: Input) -> str:
    """An input that a call gives, as the docstring of the public function names it."""
    kind = "bool" if own.kind == "bool" else "real" if own.kind in ("float", "scores", "centroids") else "int"
    return f"{own.name}, {kind} [{', '.join(own.axes)}]"


def table(node: ir.Table, index: int) -> tuple[int, str, str]:
    """Its number, what it is, and the text that makes it."""
    match node:
        case ir.Blocks(size, rows):
            entries = ", ".join(map(str, map(list, rows)))
            listed = "\n".join(textwrap.wrap(entries, 110, initial_indent="    ", subsequent_indent="    "))
            doc = f"Key blocks of {size} that each block of {size} queries may attend to"
            return (index, doc, f"Blocks({size}, [\n{listed}\n])")
        case ir.RandomBlocks(size, count, seed, earlier):
            doc = f"{count} key blocks of {size} at random for each block of {size} queries"
            doc += ", none later than it" if earlier else ""
            made = f"RandomBlocks(size={size}, count={count}, seed={seed}{', earlier=True' if earlier else ''})"
            return (index, doc, made)
        case ir.RandomKeys(count, seed):
            return (index, f"{count} keys at random for each query", f"RandomKeys(count={count}, seed={seed})")
    raise TypeError(f"not a table: {node!r}")
