"""Names, arguments and the two sorts of every declaration of a file, whatever its parameters; no value is computed."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from sparsec import diagnostics as say
from sparsec.diagnostics import Diagnostic, Fix
from sparsec.ir.lower_arms import overlaps
from sparsec.ir.lower_scope import INTEGERS, Scope
from sparsec.ir.lower_signatures import BUILT_IN, LATER, bind, signature_of
from sparsec.source import Span
from sparsec.syntax import ast
from sparsec.syntax.check import MAX_ERRORS

_MAX_PARAMETERS = 64
_RESERVED = (*INTEGERS, "pattern", "heads", "layers")
_FOREIGN = {
    "i": "the query's position is `q`", "j": "the key's position is `k`", "N": "the number of keys is `n`",
    "True": "every pair is `full`", "False": "no pair is `~full`", "range": "a range is written `first..last`",
    "if": "a choice by head or layer is `match h { ... }`", "len": "the number of keys is `n`",
    "head": "the query head is `h`", "num_heads": "the number of heads is `H`", "Q": "the query's position is `q`",
    "K": "the key's position is `k`", "q_idx": "the query's position is `q`", "kv_idx": "the key's position is `k`",
    "seq_len": "the number of keys is `n`", "heads": "the number of heads is `H`", "layer_idx": "the layer is `layer`",
    "where": "a choice by position is `(a & b) | (c \\ a)`",
}  # fmt: skip


def check(scope: Scope) -> list[Diagnostic]:
    """All errors of names, arguments and sorts in one file's own definitions."""
    errors: list[Diagnostic] = []
    for entry in scope.own.values():
        errors += _Checker(scope, entry.definition).run()
    return errors


class _Checker:
    """Walks one definition.  `sort` returns "int", "set", or None where an error already stands."""

    def __init__(self, scope: Scope, definition: ast.Definition) -> None:
        self.scope, self.definition = scope, definition
        self.parameters: list[str] = []
        self.errors: list[Diagnostic] = []

    def run(self) -> list[Diagnostic]:
        if self.definition.name in INTEGERS:
            why = f"a {self.definition.kind}: it is an integer of every condition"
            self.errors.append(say.ReservedName(name=self.definition.name, why=why, span=self.definition.name_span))
        if len(self.definition.parameters) > _MAX_PARAMETERS:
            what = f"more than {_MAX_PARAMETERS} parameters"
            return [*self.errors, say.TooComplex(what=what, span=self.definition.name_span)]
        for parameter in self.definition.parameters:
            self._parameter(parameter)
        self.want_set(self.definition.body, f"the body of a {self.definition.kind}")
        return self.errors

    def _parameter(self, parameter: ast.Parameter) -> None:
        if parameter.name in _RESERVED:
            self.errors.append(say.ReservedName(name=parameter.name, why="a parameter", span=parameter.span))
        if parameter.name in self.parameters:
            self.errors.append(say.DefinedTwice(name=parameter.name, where="in this list", span=parameter.span))
        if parameter.default is not None:
            self.want_int(parameter.default, "a default")
            for node in ast.walk(parameter.default):
                if isinstance(node, ast.Name) and node.name in INTEGERS:
                    self.errors.append(say.NotConstant(what="a default", name=node.name, span=node.span))
        self.parameters.append(parameter.name)

    def want_int(self, node: ast.Expr, where: str) -> None:
        if self.sort(node) == "set":
            self.errors.append(say.IntegerNeeded(where=where, hint=_loose(node), span=node.span))

    def want_set(self, node: ast.Expr, where: str) -> None:
        if self.sort(node) == "int":
            self.errors.append(say.SetNeeded(where=where, hint=_as_set(node), span=node.span, fixes=_compared(node)))

    def sort(self, node: ast.Expr) -> str | None:
        match node:
            case ast.Number():
                return "int"
            case ast.Name():
                return self._name(node)
            case ast.Call():
                return self._call(node)
            case ast.Match():
                return self._match(node)
            case ast.Unary("~", value):
                self.want_set(value, "`~`")
                return "set"
            case ast.Binary("&" | "\\" as op, left, right):
                self.want_set(left, f"`{op}`")
                self.want_set(right, f"`{op}`")
                return "set"
            case ast.Union(parts):
                for part in parts:
                    self.want_set(part, "`|`")
                return "set"
            case ast.Chain() | ast.Membership():
                return self._comparison(node)
            case ast.Unary(op) | ast.Binary(op):
                for part in ast.children(node):
                    self.want_int(part, f"`{op}`")
                return "int"
            case ast.Index(name):
                self.errors.append(say.NotYet(what=f"`{name}[...]`, data given at the call,", span=node.span))
            case _:
                self.errors.append(say.MisplacedTable(span=node.span))
        return None

    def _comparison(self, node: ast.Chain | ast.Membership) -> str:
        if isinstance(node, ast.Chain):
            for operand, op in zip(node.operands, (node.ops[0], *node.ops), strict=True):
                self.want_int(operand, f"`{op}`")
            return "set"
        self.want_int(node.value, "`in`")
        if isinstance(node.container, ast.Range | ast.Members):
            for part in ast.children(node.container):
                self.want_int(part, "a range" if isinstance(node.container, ast.Range) else "a set of numbers")
        else:
            expected, found = "a range `first..last` or numbers in braces", "an expression"
            self.errors.append(say.UnexpectedText(expected=expected, found=found, span=node.container.span))
        return "set"

    def _name(self, node: ast.Name) -> str | None:
        if node.name in self.parameters or node.name in INTEGERS:
            return "int"
        return self._call(ast.Call(node.name, (), span=node.span))

    def _call(self, node: ast.Call) -> str | None:
        entry = self.scope.find(node.name)
        signature = signature_of(entry.definition) if entry else BUILT_IN.get(node.name)
        if signature is None:
            later = say.NotYet(what=f"`{node.name}`", span=node.span) if node.name in LATER else None
            self.errors.append(later or self._unknown(node))
            return None
        bound = bind(signature, node.arguments, node.span)
        if isinstance(bound, say.WrongArguments):
            self.errors.append(bound)
            return signature.sort
        for name, value in bound.items():
            if name == "table" and entry is None and isinstance(value, ast.Text | ast.Table):
                self._table(value)
            else:
                where = f"argument `{name}` of `{node.name}`" if "." not in name else f"`{node.name}`"
                self.want_int(value, where)
        return signature.sort

    def _table(self, node: ast.Text | ast.Table) -> None:
        """The entries of a table in the text; whether it is made of rows is seen when it is read."""
        for row in ast.children(node):
            for item in ast.children(row) if isinstance(row, ast.Table) else ():
                if not isinstance(item, ast.Number | ast.Table):
                    self.want_int(item, "an entry of a table")

    def _match(self, node: ast.Match) -> str | None:
        self.want_int(node.value, "`match`")
        sorts = []
        for arm in node.arms:
            for head in arm.heads:
                for bound in ast.children(head) if isinstance(head, ast.Range) else (head,):
                    self.want_int(bound, "an arm's head")
            sorts.append(self.sort(arm.body))
        sort = next((sort for sort in sorts if sort), None)
        for arm, other in zip(node.arms, sorts, strict=True):
            if sort == "set" and other == "int":
                where = "an arm of this `match`"
                self.errors.append(say.SetNeeded(where=where, hint=_as_set(arm.body), span=arm.body.span))
            elif sort == "int" and other == "set":
                self.errors.append(say.IntegerNeeded(where="an arm of this `match`", span=arm.body.span))
        self.errors += overlaps(node, _literal)
        return sort

    def _unknown(self, node: ast.Call) -> Diagnostic:
        span = Span(node.span.source, node.span.start, node.span.start + len(node.name))
        integers = () if node.arguments else (*self.parameters, *INTEGERS)
        known = [*integers, *BUILT_IN, *self.scope.names()]
        hint = _FOREIGN.get(node.name, "")
        near: list[str] = []
        if not hint and len(self.errors) < MAX_ERRORS and (near := get_close_matches(node.name, known, n=3)):
            hint = f"did you mean `{near[0]}`?"
        if any(node.name == parameter for entry in self.scope.own.values() for parameter in _names(entry.definition)):
            hint = hint or f"a {self.definition.kind} sees its own parameters only: add `{node.name}` to them"
        fixes = tuple(Fix(f"change to `{name}`", span, name) for name in dict.fromkeys(near))
        return say.UnknownName(name=node.name, hint=hint, span=span, fixes=fixes)


def _as_set(node: ast.Expr) -> str:
    """How an integer could have been meant as a set."""
    if isinstance(node, ast.Number):
        return f"for one key write `k == {node.value}`"
    return "compare it: `... == 0`"


def _compared(node: ast.Expr) -> tuple[Fix, ...]:
    if isinstance(node, ast.Number):
        return (Fix(f"write `k == {node.value}`", node.span, f"k == {node.value}"),)
    return ()


def _literal(node: ast.Expr) -> int | None:
    return node.value if isinstance(node, ast.Number) else None


def _names(definition: ast.Definition) -> Iterator[str]:
    return (parameter.name for parameter in definition.parameters)


def _loose(node: ast.Expr) -> str:
    """`&` and its like bind looser than comparisons, which surprises people who come from C or numpy."""
    if isinstance(node, ast.Chain | ast.Membership):
        return "comparisons chain without brackets: `0 <= q - k < w`"
    return ""
