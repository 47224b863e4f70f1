"""The third sort, real numbers, in scores and where scores are applied: what `sorts` asks about them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from sparsec import diagnostics as say
from sparsec.diagnostics import Diagnostic
from sparsec.lower.hints import unknown
from sparsec.lower.inputs import not_real
from sparsec.lower.relative import RELATIVE, is_relative, written_out
from sparsec.lower.scope import INTEGERS, Entry, Scope
from sparsec.lower.scored import is_scored
from sparsec.lower.signatures import BUILT_IN, Signature, bind, signature_of
from sparsec.syntax import ast
from sparsec.syntax.check import MAX_ERRORS
from sparsec.syntax.errors.borrowed import CHOICE

REAL_OPERATORS = ("+", "-", "*", "/", "**")


class ScoreSorts(ABC):
    """What a walk over a definition knows, and its steps through scores."""

    def __init__(self, scope: Scope, definition: ast.Definition) -> None:
        self.scope, self.definition = scope, definition
        self.parameters: list[str] = []
        self.errors: list[Diagnostic] = []
        self.in_score = definition.kind == "score"

    @abstractmethod
    def sort(self, node: ast.Expr, wanted: str = "") -> str | None:
        """int, set, real, or None where an error already stands."""

    @abstractmethod
    def want_int(self, node: ast.Expr, where: str) -> None:
        """An error where it is none."""

    @abstractmethod
    def want_set(self, node: ast.Expr, where: str) -> None:
        """An error where it is none."""

    @abstractmethod
    def match(self, node: ast.Match, wanted: str, body: Callable[[ast.Expr], None] | None = None) -> str | None:
        """The sort of a `match`; `body`, where it is there, checks its arms."""

    @abstractmethod
    def arguments(
        self, node: ast.Name | ast.Call, signature: Signature, arguments: tuple[ast.Argument, ...], built_in: bool
    ) -> str | None:
        """The sort of what is called, its arguments checked."""

    @abstractmethod
    def input(self, node: ast.Name | ast.Index) -> ast.Input | None:
        """The input that a name means where it stands."""

    def body(self, node: ast.Expr, where: str) -> None:
        """What may have scores: all of a pattern, an arm of its `match`, another pattern."""
        match node:
            case ast.Scored(body, scores):
                self.body(body, where)
                for score in scores:
                    self._applied(score)
            case ast.Match():
                self.match(node, "set", lambda body: self.body(body, "an arm of this `match`"))
            case ast.Name() | ast.Call() if (entry := self._named(node)) and is_scored(entry):
                arguments = node.arguments if isinstance(node, ast.Call) else ()
                self.arguments(node, signature_of(entry.definition), arguments, built_in=False)
            case _:
                self.want_set(node, where)

    def _applied(self, node: ast.Expr) -> None:
        """A score behind `with`."""
        assert isinstance(node, ast.Name | ast.Call)  # the grammar has no others
        entry = self._named(node)
        if is_relative(node, entry) and not self.means_a_number(node):
            self.relative(node)
        elif entry and entry.definition.kind == "score":
            arguments = node.arguments if isinstance(node, ast.Call) else ()
            self.arguments(node, signature_of(entry.definition), arguments, built_in=False)
        elif entry:
            kind = entry.definition.kind
            hint = f"join sets by `&`: `... & {node.span.text}`" if "\n" not in node.span.text else ""
            self.errors.append(say.NotAScore(name=node.name, what=f"a {kind}", hint=hint, span=node.span))
        elif self.means_a_number(node):
            self.errors.append(say.NotAScore(name=node.name, what="an integer", span=node.span))
        else:
            call = ast.Call(node.name, (), span=node.span)
            known = len(self.errors) < MAX_ERRORS
            self.errors.append(unknown(call, self.scope, self.definition, self.parameters, "real", known))

    def relative(self, node: ast.Name | ast.Call) -> str:
        """The sort of the built-in score `relative`, its arguments checked."""
        score = written_out(node)
        if isinstance(score, Diagnostic):
            self.errors.append(score)
            return "real"
        signature, arguments = BUILT_IN[RELATIVE], node.arguments if isinstance(node, ast.Call) else ()
        bound = bind(signature, arguments, node.span)
        assert not isinstance(bound, Diagnostic)  # `written_out` has found it sound
        table = bound["table"]
        source = self.input(table) if isinstance(table, ast.Name) else None
        self.errors += not_real(table, source, RELATIVE, signature.reals["table"])
        self.want_int(bound["far"], f"argument `far` of `{RELATIVE}`")
        return "real"

    def means_a_number(self, node: ast.Expr) -> bool:
        """Whether a name is that of a parameter, or of an integer that is known everywhere."""
        return isinstance(node, ast.Name) and (node.name in self.parameters or node.name in INTEGERS)

    def _named(self, node: ast.Name | ast.Call) -> Entry | None:
        """The definition that a name means where it stands."""
        own = self.means_a_number(node)
        return None if own or (isinstance(node, ast.Name) and self.input(node)) else self.scope.find(node.name)

    def scores_misplaced(self, node: ast.Scored) -> None:
        """An error for scores of what is no whole pattern."""
        hint = "write `with` behind all of the pattern, or of an arm of its `match`"
        problem = "scores belong to a whole pattern, or to an arm of its `match`"
        if self.definition.kind == "set":
            hint, problem = "declare it as a pattern: `pattern ... with ...`", "a set has no scores"
        span = node.span.source.span(node.scores[0].span.start, node.span.end)
        self.errors.append(say.MisplacedScore(problem=problem, hint=hint, span=span))

    def want_real(self, node: ast.Expr, where: str) -> None:
        if self.sort(node, "real") == "set":
            self.errors.append(say.RealNeeded(where=where, span=node.span))

    def real_or_int(self, node: ast.Expr, where: str) -> str | None:
        """The sort of a number of a score, either one; None where it is a set, which is an error."""
        sort = self.sort(node, "real")
        if sort == "set":
            self.errors.append(say.RealNeeded(where=where, span=node.span))
        return None if sort == "set" else sort

    def choice(self, node: ast.Choice) -> str | None:
        """The sort of `then if test else other`."""
        if not self.in_score:
            problem = "`... if ... else ...` chooses between real numbers, in scores"
            self.errors.append(say.MisplacedScore(problem=problem, hint=CHOICE, span=node.span))
            return None
        self.want_set(node.test, "`if`")
        self.want_real(node.then, "a choice")
        self.want_real(node.other, "a choice")
        return "real"

    def real_arithmetic(self, node: ast.Binary) -> str | None:
        """The sort of `left op right` in a score."""
        sorts = [self.real_or_int(part, f"`{node.op}`") for part in (node.left, node.right)]
        return None if None in sorts else "real" if "real" in sorts or node.op == "/" else "int"

    def hint_of_real(self, node: ast.Expr) -> str:
        if any(isinstance(part, ast.Name) and part.name == "s" for part in ast.walk(node)) and self.in_score:
            return "conditions are about positions; of real numbers take `min`, `max` or `abs`"
        reads = (part for part in ast.walk(node) if isinstance(part, ast.Name | ast.Index))
        if any((source := self.input(part)) and source.kind == "float" for part in reads):
            return "float inputs belong to scores: `score biased = s + bias[k]`"
        return "" if self.in_score else "numbers with a point belong to scores: `score half = 0.5 * s`"


def score_as_set(node: ast.Call) -> Diagnostic:
    """A score that stands where a set or an integer does."""
    hint = f"apply it to a pattern: `pattern p = causal with {node.name}`"
    problem = f"`{node.name}` is a score, and scores are no part of sets and integers"
    return say.MisplacedScore(problem=problem, hint=hint, span=node.span)


def pattern_with_scores(node: ast.Call) -> Diagnostic:
    """A pattern with scores that stands in another set."""
    problem = f"`{node.name}` has scores, and sets have none"
    hint = "name its set apart, and use that in both: `set pairs = ...`"
    return say.MisplacedScore(problem=problem, hint=hint, span=node.span)
