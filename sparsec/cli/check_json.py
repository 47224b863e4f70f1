"""Findings as JSON, format 1: docs/reference/formats.md describes it and promises that it stays."""

from __future__ import annotations

import json
from collections.abc import Iterable

from sparsec.cli.findings import Finding
from sparsec.diagnostics import Diagnostic
from sparsec.source import Span


def write(found: Iterable[Finding]) -> str:
    files = [_file(each) for each in found]
    return json.dumps({"format": 1, "valid": all(file["valid"] for file in files), "files": files}, indent=2)


def _file(found: Finding) -> dict:
    unbound = found.diagnosis.unbound.items()
    return {
        "name": found.name,
        "valid": found.diagnosis.valid,
        "diagnostics": [_record(found, each) for each in found.diagnosis.diagnostics],
        "unbound": {name: [_record(found, each) for each in asked] for name, asked in unbound},
        "unadvised": list(found.diagnosis.unadvised),
    }


def _record(found: Finding, diagnostic: Diagnostic) -> dict:
    texts = {name: diagnostic.fill(getattr(diagnostic, name)) for name in ("message", "label", "help")}
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity,
        "title": diagnostic.title,
        **texts,
        "file": found.place(diagnostic),
        **_ends(diagnostic.span),
        "fixes": [{"title": fix.title, **_ends(fix.span), "replacement": fix.replacement} for fix in diagnostic.fixes],
    }


def _ends(span: Span | None) -> dict:
    """Where a span begins and where it ends, the end not included."""
    if span is None:
        return {"start": None, "end": None}
    places = zip(("start", "end"), map(span.source.position, (span.start, span.end)), strict=True)
    return {name: {"line": line, "column": column} for name, (line, column) in places}
