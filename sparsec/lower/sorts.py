"""Names, arguments and the three sorts of every declaration of a file, whatever its parameters; arms of a `match` that
overlap.  No value is computed.
"""

from __future__ import annotations

from collections.abc import Callable

from sparsec import diagnostics as say
from sparsec.diagnostics import Diagnostic
from sparsec.lower.arms import overlaps
from sparsec.lower.hints import (
    as_set,
    comments,
    compared,
    divided,
    in_round_brackets,
    loose,
    misplaced_container,
    otherwise_arm,
    reserved,
    undeclared,
    unknown,
    unknown_word,
    written_as_set,
)
from sparsec.lower.inputs import not_chosen, not_real, own_indices, problems, wrong_index
from sparsec.lower.relative import is_relative
from sparsec.lower.scope import INTEGERS, Entry
from sparsec.lower.score_sorts import REAL_OPERATORS, ScoreSorts, pattern_with_scores, score_as_set
from sparsec.lower.scored import is_scored
from sparsec.lower.signatures import BUILT_IN, Signature, bind, signature_of
from sparsec.syntax import ast
from sparsec.syntax.check import MAX_ERRORS
from sparsec.syntax.errors.borrowed import COMMENT

_MAX_PARAMETERS = 64
_RESERVED = (*INTEGERS, "pattern", "heads", "layers")


def check(entry: Entry) -> list[Diagnostic]:
    """All errors of names, arguments and sorts in one definition."""
    return _Checker(entry.scope, entry.definition).run()


class _Checker(ScoreSorts):
    """Walks one definition.  `sort` returns "int", "set", "real", or None where an error already stands."""

    def run(self) -> list[Diagnostic]:
        if self.definition.name in INTEGERS:
            name, why = self.definition.name, f"a {self.definition.kind}"
            hint = reserved(name)
            self.errors.append(say.ReservedName(name=name, why=why, hint=hint, span=self.definition.name_span))
        if len(self.definition.parameters) > _MAX_PARAMETERS:
            what = f"more than {_MAX_PARAMETERS} parameters"
            return [*self.errors, say.TooComplex(what=what, span=self.definition.name_span)]
        for parameter in self.definition.parameters:
            self._parameter(parameter)
        if self.in_score:
            self.want_real(self.definition.body, "the body of a score")
        elif self.definition.kind == "pattern":
            self.body(self.definition.body, "the body of a pattern")
        else:
            self.want_set(self.definition.body, "the body of a set")
        return self.errors

    def _parameter(self, parameter: ast.Parameter) -> None:
        if parameter.name in _RESERVED or (self.in_score and parameter.name == "s"):
            name = parameter.name
            self.errors.append(say.ReservedName(name=name, why="a parameter", hint=reserved(name), span=parameter.span))
        if source := self.scope.input(parameter.name):
            where = f"as an input in line {source.span.line}"
            self.errors.append(say.DefinedTwice(name=parameter.name, where=where, span=parameter.span))
        if parameter.name in self.parameters:
            self.errors.append(say.DefinedTwice(name=parameter.name, where="in this list", span=parameter.span))
        if parameter.default is not None:
            self.want_int(parameter.default, "a default")
            for node in ast.walk(parameter.default):
                if not isinstance(node, ast.Name | ast.Index):
                    continue
                if (isinstance(node, ast.Name) and node.name in INTEGERS) or self.input(node):
                    self.errors.append(say.NotConstant(what="a default", name=node.name, span=node.span))
        self.parameters.append(parameter.name)

    def want_int(self, node: ast.Expr, where: str) -> None:
        sort = self.sort(node, "int")
        if sort == "set":
            self.errors.append(say.IntegerNeeded(where=where, hint=loose(node), span=node.span))
        elif sort == "real":
            self.errors.append(say.MisplacedReal(where=where, hint=self.hint_of_real(node), span=node.span))

    def want_set(self, node: ast.Expr, where: str) -> None:
        sort = self.sort(node, "set")
        if sort == "int":
            self.errors.append(say.SetNeeded(where=where, hint=as_set(node), span=node.span, fixes=compared(node)))
        elif sort == "real":
            wanted = "a set of pairs"
            self.errors.append(say.MisplacedReal(where=where, wanted=wanted, span=node.span))

    def sort(self, node: ast.Expr, wanted: str = "") -> str | None:
        match node:
            case ast.Number():
                return "int"
            case ast.Real():
                return "real"
            case ast.Choice():
                return self.choice(node)
            case ast.Scored(body):
                self.scores_misplaced(node)
                return self.sort(body, wanted)
            case ast.Name("s") if self.in_score:
                return "real"
            case ast.Name():
                return self._name(node, wanted)
            case ast.Call():
                return self._call(node, wanted)
            case ast.Match():
                return self.match(node, wanted)
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
            case ast.Binary():
                return self._arithmetic(node)
            case ast.Unary(op, value) if self.in_score:
                return self.real_or_int(value, f"`{op}`")
            case ast.Unary(op, value):
                self.want_int(value, f"`{op}`")
                return "int"
            case ast.Index(name) if source := self.scope.input(name):
                return self._read(node, source)
            case ast.Index(name) if name in BUILT_IN or self.scope.find(name):
                self.errors.append(in_round_brackets(node))
            case ast.Index():
                self.errors.append(undeclared(node, self.scope, self.in_score and wanted != "int"))
            case _:
                self.errors.append(say.MisplacedTable(span=node.span))
        return None

    def _arithmetic(self, node: ast.Binary) -> str | None:
        """One error where sets stand, whatever becomes of the result."""
        if self.in_score and node.op in REAL_OPERATORS:
            return self.real_arithmetic(node)
        if node.op == "/" and (symbol := divided(node)):
            self.errors.append(symbol)
        left = self.sort(node.left, "int")
        if left == "set" and comments(node):
            # The words of the comment are no names.
            hint = f"`//` divides integers; {COMMENT}" if node.op == "//" else COMMENT
            self.errors.append(say.IntegerNeeded(where=f"`{node.op}`", hint=hint, span=node.left.span))
            return None
        right = self.sort(node.right, "" if left == "set" else "int")
        sets = {left, right} in ({"set"}, {"set", None})  # beside a set an unknown name was meant as one
        if sets and (symbol := written_as_set(node)):
            self.errors.append(symbol)
            return "set"
        for part, sort in ((node.left, left), (node.right, right)):
            if sort == "set":
                self.errors.append(say.IntegerNeeded(where=f"`{node.op}`", hint=loose(part), span=part.span))
        return None if "set" in (left, right) else "int"

    def _comparison(self, node: ast.Chain | ast.Membership) -> str:
        if isinstance(node, ast.Chain):
            for operand, op in zip(node.operands, (node.ops[0], *node.ops), strict=True):
                self.want_int(operand, f"`{op}`")
            return "set"
        self.want_int(node.value, "`in`")
        if isinstance(node.container, ast.Name | ast.Index) and (source := self.input(node.container)):
            self._read(node.container, source, listed=True)
        elif isinstance(node.container, ast.Range | ast.Members):
            for part in ast.bounds(node.container):
                self.want_int(part, "a range" if isinstance(node.container, ast.Range) else "a set of numbers")
        else:
            self.errors.append(misplaced_container(node.container))
        return "set"

    def _name(self, node: ast.Name, wanted: str) -> str | None:
        if node.name in self.parameters or node.name in INTEGERS:
            return "int"
        if source := self.input(node):
            return self._read(node, source)
        return self._call(ast.Call(node.name, (), span=node.span), wanted)

    def input(self, node: ast.Name | ast.Index) -> ast.Input | None:
        """The input that a name means where it stands."""
        bare = isinstance(node, ast.Name)
        return None if bare and (node.name in self.parameters or node.name in INTEGERS) else self.scope.input(node.name)

    def _read(self, node: ast.Name | ast.Index, source: ast.Input, listed: bool = False) -> str | None:
        if problems(source, INTEGERS):
            return None  # an error of the declaration
        if wrong := wrong_index(node, source, listed):
            self.errors.append(wrong)
        else:
            for index in own_indices(node, source):
                self.want_int(index, f"an index of `{source.name}`")
        return {"bool": "set", "int": "int", "float": "real"}.get(source.kind)

    def _call(self, node: ast.Call, wanted: str) -> str | None:
        entry = self.scope.find(node.name)
        signature = signature_of(entry.definition) if entry else BUILT_IN.get(node.name)
        if signature is not None and signature.sort == "real" and not self.in_score:
            if entry:
                self.errors.append(score_as_set(node))
                return None
            signature = None  # a function of scores
        if signature is None:
            search = len(self.errors) < MAX_ERRORS
            self.errors.append(unknown(node, self.scope, self.definition, self.parameters, wanted, search))
            return None
        if entry and is_scored(entry):
            self.errors.append(pattern_with_scores(node))
        if is_relative(node, entry):
            return self.relative(node)
        return self.arguments(node, signature, node.arguments, built_in=entry is None)

    def arguments(
        self, node: ast.Name | ast.Call, signature: Signature, arguments: tuple[ast.Argument, ...], built_in: bool
    ) -> str | None:
        """The sort of what is called, its arguments checked."""
        bound = bind(signature, arguments, node.span)
        if isinstance(bound, say.Diagnostic):
            self.errors.append(bound)
            return signature.sort
        numbers = []
        for name, value in bound.items():
            where = f"argument `{name}` of `{node.name}`" if "." not in name else f"`{node.name}`"
            other = signature.others.get(name)
            if other == "table" and isinstance(value, ast.Text | ast.Table):
                self._table(value)
            elif other == "chosen":
                self.errors += not_chosen(value, self._source(value, ""))
            elif name in signature.reals and (not other or self._source(value, other)):
                self.errors += not_real(value, self._source(value, ""), node.name, signature.reals[name])
            elif other == "set":
                self.want_set(value, where)
            elif other and other != "table":
                self.errors += unknown_word(value, where, other, signature.reals.get(name, ""))
            elif self.in_score and built_in and signature.sort != "set":
                numbers.append(self.real_or_int(value, where))
            else:
                self.want_int(value, where)
        return "real" if "real" in numbers else signature.sort

    def _source(self, node: ast.Expr, words: str) -> ast.Input | None:
        """The input that an argument names which may be one of some words instead."""
        return self.input(node) if isinstance(node, ast.Name) and node.name not in words.split() else None

    def _table(self, node: ast.Text | ast.Table) -> None:
        """The entries of a table in the text; whether it is made of rows is seen when it is read."""
        for row in node.items if isinstance(node, ast.Table) else ():
            for item in row.items if isinstance(row, ast.Table) else ():
                if not isinstance(item, ast.Number | ast.Table):
                    self.want_int(item, "an entry of a table")

    def match(self, node: ast.Match, wanted: str, body: Callable[[ast.Expr], None] | None = None) -> str | None:
        """The sort of a `match`; `body`, where it is there, checks its arms."""
        self.want_int(node.value, "`match`")
        sorts = []
        for arm in node.arms:
            for head in arm.heads:
                if (otherwise := otherwise_arm(head, self.parameters)) is not None:
                    self.errors.append(otherwise)
                    continue
                for bound in ast.bounds(head) if isinstance(head, ast.Range) else (head,):
                    self.want_int(bound, "an arm's head")
            sorts.append(body(arm.body) if body else self.sort(arm.body, wanted))
        sort = next((sort for sort in sorts if sort), None)
        sort = "real" if "real" in sorts and sort == "int" else sort
        for arm, other in zip(node.arms, sorts, strict=True):
            if sort == "set" and other == "int":
                where = "an arm of this `match`"
                self.errors.append(say.SetNeeded(where=where, hint=as_set(arm.body), span=arm.body.span))
            elif sort == "int" and other == "set":
                self.errors.append(say.IntegerNeeded(where="an arm of this `match`", span=arm.body.span))
            elif {sort, other} == {"real", "set"}:
                self.errors.append(say.RealNeeded(where="an arm of this `match`", span=arm.body.span))
        self.errors += overlaps(node, _literal)
        return sort


def _literal(node: ast.Expr) -> int | None:
    return node.value if isinstance(node, ast.Number) else None
