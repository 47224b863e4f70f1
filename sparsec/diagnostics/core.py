"""What a diagnostic is.  The messages themselves are declared beside this file, one class for each code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import get_annotations
from typing import Any, ClassVar, Literal, Self, dataclass_transform

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


@dataclass_transform(kw_only_default=True, frozen_default=True)
class _Fields:
    """As a frozen dataclass of keywords: what a subclass annotates, and not as a ClassVar, is a field.

    `dataclass` compiles several functions for each class, and there are a hundred: a third of a command's start.
    """

    fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        own = (name for name, kind in get_annotations(cls).items() if not kind.startswith("ClassVar"))
        cls.fields = tuple(dict.fromkeys((*cls.fields, *own)))

    def __init__(self, **given: Any) -> None:
        if unknown := given.keys() - set(self.fields):
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        if missing := [name for name in self.fields if name not in given and not hasattr(type(self), name)]:
            raise TypeError(f"{type(self).__name__} needs {', '.join(missing)}")
        self.__dict__.update(given)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name}: it does not change")

    @property
    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.fields)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._values == other._values

    def __hash__(self) -> int:
        return hash((type(self), self._values))

    def __repr__(self) -> str:
        named = zip(self.fields, self._values, strict=True)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in named)})"

    def changed(self, **fields: Any) -> Self:
        """The same with other values of some fields."""
        return type(self)(**dict(zip(self.fields, self._values, strict=True)) | fields)


class Diagnostic(_Fields):
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
        super().__init_subclass__()
        cls.code, cls.title, cls.severity = code, title, severity
        CODES[code] = cls

    @property
    def place(self) -> Span:
        """The span of a message about a place in a text."""
        assert self.span is not None, self.code
        return self.span

    def fill(self, text: str) -> str:
        """`text` with this diagnostic's fields in it."""
        return text.format(**dict(zip(self.fields, self._values, strict=True)))

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
