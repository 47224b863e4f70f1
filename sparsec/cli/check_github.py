"""Findings as workflow commands of GitHub Actions, which shows them beside the lines of a pull request."""

from __future__ import annotations

from collections.abc import Iterable

from sparsec.cli.findings import Finding, sentence
from sparsec.diagnostics import Diagnostic


def write(found: Iterable[Finding]) -> str:
    """One line for each diagnostic; nothing where there is none."""
    return "\n".join(_line(each, diagnostic) for each in found for diagnostic in each.diagnosis.diagnostics)


def _line(found: Finding, diagnostic: Diagnostic) -> str:
    properties: dict[str, str | int] = {"file": found.place(diagnostic)}
    if span := diagnostic.span:
        (line, column), (last, end) = map(span.source.position, (span.start, span.end))
        properties |= {"line": line, "col": column, "endLine": last, "endColumn": end}
    properties["title"] = f"{diagnostic.code} {diagnostic.title}"
    written = ",".join(f"{name}={_property(str(value))}" for name, value in properties.items())
    return f"::{diagnostic.severity} {written}::{_data(sentence(diagnostic))}"


def _data(text: str) -> str:
    shown = "".join(c if c.isprintable() or c in "\r\n" else "�" for c in text)  # a log is read in terminals, too
    return shown.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
