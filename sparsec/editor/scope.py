"""Which declaration a name means: a parameter, the text's own, a used file's, the prelude's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sparsec import resources
from sparsec.diagnostics import SparsecError
from sparsec.editor.outline import Declaration, Occurrence, Outline, outline, quoted
from sparsec.lower.scope import INTEGERS, prelude
from sparsec.source import Source
from sparsec.syntax.read import read


@dataclass(frozen=True)
class Target:
    """A definition, or one of its parameters, in a text."""

    source: Source
    declaration: Declaration
    parameter: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """Alike for all that is meant by it."""
        return self.source.name, self.declaration.named.text, self.parameter

    @property
    def place(self) -> tuple[int, int]:
        names = [self.declaration.named, *self.declaration.parameters]
        word = next(each for each in names[bool(self.parameter) :] if not self.parameter or each.text == self.parameter)
        return word.start, word.end


def is_prelude(source: Source) -> bool:
    return source == prelude().file.source


def path_of(source: Source) -> Path:
    """The file of a text; the prelude's is a resource."""
    return resources.root() / source.name if is_prelude(source) else Path(source.name)


def visible(source: Source) -> list[tuple[Source, Outline]]:
    """The text, the files that it uses as far as they can be read, and the prelude."""
    found = [source]
    for path in outline(source).uses():
        try:
            found.append(read(Path(source.name).parent / quoted(path)))
        except SparsecError:
            continue  # its diagnostic says so
    return [(each, outline(each)) for each in [*found, prelude().file.source]]


def find(source: Source, name: str) -> Target | None:
    """The definition of a name in a text."""
    for each, known in visible(source):
        if declaration := known.find(name):
            return Target(each, declaration)
    return None


def target(source: Source, occurrence: Occurrence) -> Target | None:
    """What a name means; None for positions, functions that are built in, and names that nobody declares."""
    name, inside = occurrence.lexeme.text, occurrence.inside
    own = [each.text for each in inside.parameters]
    match occurrence.role:
        case "definition":
            declaration = outline(source).find(name)
            return Target(source, declaration) if declaration else None
        case "parameter":
            return Target(source, inside, name)
        case "argument":
            callee = find(source, occurrence.callee)
            if callee is None or name not in [each.text for each in callee.declaration.parameters]:
                return None
            return Target(callee.source, callee.declaration, name)
        case "bare" if name in own:
            return Target(source, inside, name) if inside.name else None
        case "bare" if name in INTEGERS:
            return None
    return find(source, name)
