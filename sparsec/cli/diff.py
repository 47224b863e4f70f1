"""`sparsec diff`: do two patterns keep the same pairs, and if not, which pairs tell them apart?"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from sparsec.cli.inputs import Expression, read, shown
from sparsec.cli.layered import depends_on_layer, each_layer
from sparsec.cli.options import Choice, Heads, Layer, Layers, choice
from sparsec.cli.output import report
from sparsec.diagnostics import Diagnostic, SparsecError, printable
from sparsec.lower.layers import alike, named

if TYPE_CHECKING:
    from sparsec.analysis.find import Found
    from sparsec.analysis.relation import Relation
    from sparsec.ir.nodes import Pattern
    from sparsec.syntax.ast import File

_SIDES = ("A", "B")
_PAIRS = {"only_a": "only in A", "only_b": "only in B", "both": "in both"}
_MEANINGS = {
    "equal": "the same pairs for every n",
    "A in B": "every pair of A is in B, for every n",
    "B in A": "every pair of B is in A, for every n",
    "disjoint": "no pair is in both, for any n",
    "overlapping": "neither holds the other",
    "different": "a pair tells them apart; whether one holds the other was not decided",
    "other scores": "the same pairs for every n, and other scores",
    "undecided": "no difference found, and none excluded",
}


@dataclass(frozen=True)
class Side:
    file: str
    pattern: Pattern


@dataclass(frozen=True)
class Compared:
    """What holds of two patterns in some layers, () where these don't matter."""

    layers: tuple[int, ...]
    sides: list[Side]
    parts: tuple[Relation, ...]


def run(
    a: Annotated[str, typer.Argument(metavar="A", help="A .spat file, or - for standard input.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another, or the same.")],
    _: Expression = None,
    define: Annotated[
        list[str] | None,
        typer.Option(
            "-D",
            "--define",
            metavar="NAME=VALUE",
            help="Bind a parameter of both; A.NAME=VALUE and B.NAME=VALUE bind it in one.  May be repeated.",
        ),
    ] = None,
    pattern: Annotated[
        list[str] | None,
        typer.Option("-p", "--pattern", metavar="NAME", help="Which pattern; given twice, of A and of B."),
    ] = None,
    heads: Heads = None,
    layer: Layer = None,
    layers: Layers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two patterns for all n: equal, one in the other, disjoint or overlapping, with pairs that show it.

    All calls count: any number of queries, and queries beyond the keys, which only a q_offset makes.
    Exit status: 0 equal, 1 different, 2 neither is proved, or an error.
    """
    names: Sequence[str | None] = pattern or [None]
    if len(names) > 2:
        raise typer.BadParameter("given more than twice", param_hint="-p")
    from sparsec.analysis.relation import overall, relations

    try:
        chosen = choice(define, None, heads, layer, layers)
        compared = [
            Compared(layers, sides, relations(*(side.pattern for side in sides)))
            for layers, sides in sides_by_layers((a, b), (names[0], names[-1]), chosen)
        ]
        whole = overall(part for each in compared for part in each.parts)
        print(json.dumps(_to_json(compared), indent=2) if as_json else "\n".join(_lines(compared)), flush=True)
    except SparsecError as error:
        report(error.diagnostics)
        raise typer.Exit(2) from None
    raise typer.Exit({"equal": 0, "undecided": 2}.get(whole.verdict, 1))


def sides_by_layers(
    files: tuple[str, str], names: tuple[str | None, str | None], chosen: Choice
) -> list[tuple[tuple[int, ...], list[Side]]]:
    """Both patterns, each with its share of the parameters, for each group of layers in which both are the same.

    One group, of no layers, where they don't matter or one was chosen.  Warnings are printed; SparsecError for the
    rest.
    """
    from sparsec.syntax.parse import parse

    texts = {name: parse(read(name).source) for name in dict.fromkeys(files)}
    declared = [_declared(texts[file], name) for file, name in zip(files, names, strict=True)]
    shares = [_share(chosen.parameters, *each) for each in zip(_SIDES, declared, reversed(declared), strict=True)]
    bound = [
        (shown(file), texts[file], replace(chosen, pattern=name, parameters=share))
        for file, name, share in zip(files, names, shares, strict=True)
    ]
    told: set[Diagnostic] = set()
    first = _sides(bound, 0 if chosen.layer is None and chosen.layers else chosen.layer, told)
    if chosen.layer is not None or not chosen.layers or not _depend_on_layer(bound, first):
        return [((), first)]
    each = [first, *(_sides(bound, one.layer, told) for one in each_layer(chosen, chosen.layers)[1:])]
    return alike(each, lambda sides: tuple(_told(side.pattern) for side in sides))


def _told(pattern: Pattern) -> object:
    """What tells layers apart."""
    return pattern.conditions, pattern.head_conditions, pattern.scores


def _sides(bound: list[tuple[str, File, Choice]], layer: int | None, told: set[Diagnostic]) -> list[Side]:
    from sparsec.lint.diagnose import examine

    sides = []
    for name, text, chosen in bound:
        lowered = examine(text, **replace(chosen, layer=layer).keywords)
        report(warning for warning in lowered.warnings if warning not in told)
        told.update(lowered.warnings)
        sides.append(Side(name, lowered.pattern))
    return sides


def _depend_on_layer(bound: list[tuple[str, File, Choice]], sides: list[Side]) -> bool:
    return any(depends_on_layer(text, side.pattern) for (_, text, _), side in zip(bound, sides, strict=True))


def _declared(file: File, pattern: str | None) -> set[str]:
    """The parameters of the pattern that is meant; of none, when that is not clear."""
    patterns = [each for each in file.definitions if each.kind == "pattern" and pattern in (None, each.name)]
    return {parameter.name for parameter in patterns[0].parameters} if len(patterns) == 1 else set()


def _share(
    given: tuple[tuple[str, int], ...], side: str, own: set[str], other: set[str]
) -> tuple[tuple[str, int], ...]:
    """The parameters of one side: those said to be its own, and those for both that it has, or that neither has."""
    common = {name: value for name, value in given if "." not in name and (name in own or name not in other)}
    alone = {name[2:]: value for name, value in given if name.startswith(f"{side}.")}
    odd = {name: value for name, value in given if "." in name and name[:2] not in ("A.", "B.")}
    return tuple({**common, **alone, **odd}.items())


def _lines(compared: list[Compared]) -> Iterator[str]:
    from sparsec.analysis.relation import overall

    sides = compared[0].sides
    titles = [f"{side.pattern.name}({_bound(side.pattern)})" for side in sides]
    width = max(map(len, titles))
    for letter, title, side in zip(_SIDES, titles, sides, strict=True):
        yield f"{letter}  {title:{width}}  {printable(side.file)}"
    parts = [(each.layers, part) for each in compared for part in each.parts]
    whole = overall(part for _, part in parts)
    yield f"{whole.verdict}: {_MEANINGS[whole.verdict]}"
    if len(parts) == 1:
        yield from _details(whole, "  ")
        return
    for layers, part in parts:
        words = ", ".join(filter(None, (named(layers), _heads(part.heads))))
        yield f"  {words}: {part.verdict}"
        yield from _details(part, "    ")


def _details(part: Relation, indent: str) -> Iterator[str]:
    """The pairs that show the verdict, and how far it reaches."""
    if part.verdict == "equal":
        return
    yield from _score_details(part, indent)
    if part.pairs == "equal":
        return
    for side, title in _PAIRS.items():
        found = getattr(part, side)
        if found.pair is not None:
            far = ", beyond the keys, so only with a q_offset" if found.pair.q >= found.pair.n else ""
            yield f"{indent}{title:<9}  n = {found.pair.n:,}: q = {found.pair.q:,}, k = {found.pair.k:,}{far}"
        elif found.status == "unknown":
            said = f"none for n up to {found.clear}, none seen beyond"
            yield f"{indent}{title:<9}  not decided: {said if found.clear else 'data of the call decides'}"
    if part.same_up_to == math.inf:
        yield f"{indent}the same for queries among the keys, whatever n is"
    elif part.same_up_to:
        yield f"{indent}the same for n up to {part.same_up_to:,}"


def _score_details(part: Relation, indent: str) -> Iterator[str]:
    """A pair and a value of s that tell the scores apart."""
    if (found := part.scores.apart) is not None:
        place = f"n = {found.n:,}: q = {found.q:,}, k = {found.k:,}, h = {found.h} of {found.H}, s = {found.s:g}"
        yield f"{indent}{'scores':<9}  {place}: {found.a:g} in A, {found.b:g} in B"
    elif part.scores.verdict == "undecided":
        yield f"{indent}{'scores':<9}  not decided: written differently, and no difference was found"


def _bound(pattern: Pattern) -> str:
    return ", ".join(f"{name} = {value}" for name, value in pattern.parameters)


def _heads(heads: tuple[int, ...]) -> str:
    return f"head{'s' if len(heads) > 1 else ''} {', '.join(map(str, heads))}" if heads else ""


def _to_json(compared: list[Compared]) -> dict:
    """`by_layers` is there where layers are told apart; `by_heads` then holds the heads of all of them."""

    sides = {
        letter.lower(): {
            "file": side.file,
            "pattern": side.pattern.name,
            "parameters": dict(side.pattern.parameters),
        }
        for letter, side in zip(_SIDES, compared[0].sides, strict=True)
    }
    layered = {"by_layers": [{"layers": each.layers, **_by_heads(each.parts)} for each in compared]}
    parts = [part for each in compared for part in each.parts]
    return {**sides, **_by_heads(parts), **(layered if compared[0].layers else {})}


def _by_heads(parts: Sequence[Relation]) -> dict:
    from sparsec.analysis.relation import overall

    return {**_relation(overall(parts)), "by_heads": [{"heads": part.heads, **_relation(part)} for part in parts]}


def _relation(part: Relation) -> dict:
    """`same_up_to` is null where self-attention is the same for every n."""
    same = None if part.same_up_to == math.inf else part.same_up_to
    scores = {"scores": {"status": part.scores.verdict, "apart": part.scores.apart and asdict(part.scores.apart)}}
    pairs = {side: _found(getattr(part, side)) for side in _PAIRS}
    return {"verdict": part.verdict, "same_up_to": same, **pairs, **scores}


def _found(found: Found) -> dict:
    pair = found.pair and {"n": found.pair.n, "q": found.pair.q, "k": found.pair.k}
    return {"status": found.status, "pair": pair}
