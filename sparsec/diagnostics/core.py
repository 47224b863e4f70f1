"""What a diagnostic is.  The messages themselves are declared beside this file, one class for each code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

from sparsec.source import Span

CODES: dict[str, type[Diagnostic]] = {}  # filled as the classes are declared, in the order of their codes


@dataclass(frozen=True)
class Example:
    """A program that produces a code, shown by `explain` and run by a test.

    `text` is a .spat program, or Python or a command line for codes that no text can produce; `files` lie beside it;
    the rest is what the caller passes when it is lowered.  What can't be shown as text is made by `make`: the
    program's bytes and the files.
    """

    text: str
    language: Literal["spat", "python", "shell"] = "spat"
    files: Mapping[str, str] = field(default_factory=dict)
    heads: int | None = None
    layer: int | None = None
    layers: int | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    make: Callable[[], tuple[bytes, Mapping[str, str]]] | None = None

    def program(self) -> tuple[bytes, Mapping[str, str]]:
        """The program as it is run, and the files beside it."""
        return self.make() if self.make else (self.text.encode(), self.files)


@dataclass(frozen=True)
class Fix:
    """An edit that takes a diagnostic away: `replacement` in the place of `span`; `title` says it in the imperative.

    `safe`: the pattern stays the same for whatever its text is bound to, or the text can have meant nothing else.
    """

    title: str
    span: Span
    replacement: str
    safe: bool = False

    @property
    def text(self) -> str:
        """The whole text after the edit."""
        before = self.span.source.text
        return before[: self.span.start] + self.replacement + before[self.span.end :]


@dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """One message about one place.  A subclass says its code, title, texts, example and cure; its docstring explains.

    `fixes` are edits for an editor to offer, the likeliest first, where some are known; each is enough by itself.

    The texts are format strings over the fields of the class; one that comes out empty is left away.
    """

    code: ClassVar[str]
    title: ClassVar[str]
    severity: ClassVar[Literal["error", "warning"]] = "error"
    message: ClassVar[str]
    label: ClassVar[str] = ""
    help: ClassVar[str] = ""
    example: ClassVar[Example]
    cure: ClassVar[str]

    span: Span | None = None
    fixes: tuple[Fix, ...] = ()

    def __init_subclass__(cls, code: str, title: str, severity: Literal["error", "warning"] = "error") -> None:
        cls.code, cls.title, cls.severity = code, title, severity
        CODES[code] = cls

    @property
    def place(self) -> Span:
        """The span of a message about a place in a text."""
        assert self.span is not None, self.code
        return self.span

    def fill(self, text: str) -> str:
        """`text` with this diagnostic's fields in it."""
        return text.format(**{field.name: getattr(self, field.name) for field in fields(self)})

    def __str__(self) -> str:
        from sparsec.diagnostics.render import render

        return render(self)


class SparsecError(Exception):
    """What a user did that can't be; `diagnostics` holds every error found, and the text shows them all."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__(*diagnostics)
        self.diagnostics = diagnostics

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.diagnostics))


class PatternWarning(UserWarning):
    """What is legal but odd about a pattern, when it is compiled: the warnings of `sparsec check`."""
