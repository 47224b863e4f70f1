"""What `sparsec check` found, before it is written in one of its formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sparsec.diagnostics import Diagnostic

if TYPE_CHECKING:
    from sparsec.lint.diagnose import Diagnosis

Format = Literal["human", "json", "sarif", "github"]


@dataclass(frozen=True)
class Finding:
    """A file by the name that messages call it, and what there is to say about it."""

    name: str
    diagnosis: Diagnosis

    def place(self, diagnostic: Diagnostic) -> str:
        """The file that a diagnostic is about: this one, or one that it uses."""
        return diagnostic.span.source.name if diagnostic.span else self.name


def writer(form: Format) -> Callable[[Iterable[Finding]], str]:
    """The function that writes findings in a machine's format."""
    match form:
        case "json":
            from sparsec.cli.check_json import write
        case "sarif":
            from sparsec.cli.check_sarif import write
        case _:
            from sparsec.cli.check_github import write
    return write


def sentence(diagnostic: Diagnostic) -> str:
    """The message, and below it the help where there is one."""
    message, cure = diagnostic.fill(diagnostic.message), diagnostic.fill(diagnostic.help)
    return f"{message}\nhelp: {cure}" if cure else message
