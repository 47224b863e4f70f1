"""What a name or an expression in the wrong place may have been meant to be."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sparsec import diagnostics as say
from sparsec.diagnostics import Diagnostic, Fix
from sparsec.lower.foreign_names import foreign, may_be_own
from sparsec.lower.scope import INTEGERS, Scope
from sparsec.lower.signatures import BUILT_IN
from sparsec.source import Span
from sparsec.syntax import ast
from sparsec.syntax.errors.borrowed import RANGE
from sparsec.syntax.errors.near import near
from sparsec.syntax.later import way_around

_OTHERWISE = ("_", "default", "otherwise")
_SETS = {"+": "|", "-": "\\", "*": "&"}  # of sets, in numpy and elsewhere -> ours


def unknown(
    node: ast.Call, scope: Scope, definition: ast.Definition, known: Sequence[str], wanted: str, search: bool
) -> Diagnostic:
    """The name of a call that nothing defines.  `known` are the parameters so far; `search`: look for names like it."""
    span = Span(node.span.source, node.span.start, node.span.start + len(node.name))
    if way := way_around(node.name):
        return say.NotYet(what=f"`{node.name}`", hint=way, span=node.span)
    names = near(node.name, _candidates(node, scope, known, wanted)) if search else []
    hint = foreign(node.name, wanted)
    if not hint and names:
        hint = f"did you mean `{names[0]}`?"
    elif not hint or may_be_own(node.name):
        hint = "; or ".join(filter(None, [hint, _parameter(node, scope, definition, known, wanted)]))
    fixes = () if foreign(node.name, wanted) else tuple(Fix(f"change to `{name}`", span, name) for name in names)
    return say.UnknownName(name=node.name, hint=hint, span=span, fixes=fixes)


def _candidates(node: ast.Call, scope: Scope, known: Sequence[str], wanted: str) -> list[str]:
    """The names of what could stand there: integers, sets, or both where either could."""
    integers = [] if node.arguments else [*known, *INTEGERS]
    built_in = [name for name, signature in BUILT_IN.items() if wanted in ("", signature.sort)]
    return [*(integers if wanted != "set" else ()), *built_in, *(scope.names() if wanted != "int" else ())]


def _parameter(node: ast.Call, scope: Scope, definition: ast.Definition, known: Sequence[str], wanted: str) -> str:
    """How an unknown name could be a parameter."""
    own = [parameter.name for parameter in definition.parameters]
    in_default = len(known) < len(own)
    if node.name in own:
        return f"a default may name the parameters before it: declare `{node.name}` first" if in_default else ""
    if any(node.name == parameter.name for entry in scope.own.values() for parameter in entry.definition.parameters):
        return f"a {definition.kind} sees its own parameters only: add `{node.name}` to them"
    if wanted != "int" or node.arguments:
        return ""
    declared = f"{node.name} = 64"
    if own:
        declared = f"{declared}, ..." if in_default else f"..., {declared}"
    return f"declare it as a parameter: `{definition.kind} {definition.name}({declared})`"


_RESERVED = {
    "q": ("the query's position", "rows"), "k": ("the key's position", "keys"), "n": ("the number of keys", "size"),
    "h": ("the query head", "height"), "H": ("the number of heads", "height"), "layer": ("the layer", "depth"),
    "L": ("the number of layers", "length"), "pattern": ("a keyword of `sparsec.load`", "name"),
    "heads": ("a keyword of `sparsec.load`", "count"), "layers": ("a keyword of `sparsec.load`", "depth"),
}  # fmt: skip


def reserved(name: str) -> str:
    """What a reserved name means everywhere, and a name that is free."""
    meaning, free = _RESERVED[name]
    return f"`{name}` is {meaning} everywhere; choose another name, `{free}` say"


def otherwise_arm(head: ast.Expr, parameters: Sequence[str]) -> Diagnostic | None:
    """`_ -> ...` is `else -> ...` here, unless it is a parameter."""
    if isinstance(head, ast.Name) and head.name in _OTHERWISE and head.name not in parameters:
        fix = Fix("write `else`", head.span, "else")
        return say.WrongSymbol(found=head.name, right="else", span=head.span, fixes=(fix,))
    return None


def in_round_brackets(node: ast.Index) -> Diagnostic:
    """`past[4]` of a set that takes arguments."""
    inside = node.span.text.partition("[")[2].rpartition("]")[0]
    right = f"{node.name}({inside})"
    fix = Fix("write `(...)`", node.span, right, safe=True)
    return say.WrongSymbol(found=f"{node.name}[...]", right=f"{node.name}(...)", span=node.span, fixes=(fix,))


def misplaced_container(node: ast.Expr) -> Diagnostic:
    """What stands behind `in` and is neither a range nor numbers in braces; `range(0, 4)` can be written."""
    hint = ""
    fixes: tuple[Fix, ...] = ()
    if isinstance(node, ast.Call) and node.name == "range":
        hint = RANGE
        bounds = [each.value.span.text for each in node.arguments if each.name is None]
        plain = all(isinstance(each.value, ast.Number | ast.Name | ast.Binary | ast.Unary) for each in node.arguments)
        if len(bounds) in (1, 2) and plain and "\n" not in node.span.text:
            written = "..".join(bounds if len(bounds) == 2 else ["0", *bounds])
            hint = f"write `in {written}`"
            if not node.span.source.text[: node.span.start].rstrip().endswith("("):  # no range stands in brackets
                fixes = (Fix(f"write `{written}`", node.span, written),)
        elif len(bounds) == 3:
            hint = "a range has no step: write `k in 0..8 & k % 2 == 0`"
    expected = "a range `first..end` or numbers in braces"
    return say.UnexpectedText(expected=expected, found="an expression", hint=hint, span=node.span, fixes=fixes)


def comments(node: ast.Binary) -> bool:
    """Does a set stand before `//` or `--`, with which comments begin elsewhere?"""
    return node.op == "//" or (node.op == "-" and _operator(node, "--") is not None)


def written_as_set(node: ast.Binary) -> Diagnostic | None:
    """The symbol for sets in the place of one for integers, between two sets."""
    span, ours = _operator(node, node.op), _SETS.get(node.op)
    if span is None or ours is None:
        return None
    return say.WrongSymbol(found=node.op, right=ours, span=span, fixes=(Fix(f"write `{ours}`", span, ours),))


def _operator(node: ast.Binary, symbol: str) -> Span | None:
    """Where the symbol stands between both sides, behind brackets and comments."""
    source, start = node.span.source, node.left.span.end
    between = re.compile(rf"(?:[\s)]|#[^\n]*)*({re.escape(symbol)})")
    found = between.match(source.text, start)
    return source.span(*found.span(1)) if found else None


def as_set(node: ast.Expr) -> str:
    """How an integer could have been meant as a set."""
    if isinstance(node, ast.Number):
        return f"for one key write `k == {node.value}`"
    return "compare it: `... == 0`"


def compared(node: ast.Expr) -> tuple[Fix, ...]:
    if isinstance(node, ast.Number):
        return (Fix(f"write `k == {node.value}`", node.span, f"k == {node.value}"),)
    return ()


def loose(node: ast.Expr) -> str:
    """`&` and its like bind looser than comparisons, which surprises people who come from C or numpy."""
    if isinstance(node, ast.Chain | ast.Membership):
        return "comparisons chain without brackets: `0 <= q - k < w`"
    return ""
