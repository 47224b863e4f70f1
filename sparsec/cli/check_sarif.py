"""Findings as SARIF 2.1.0, the OASIS standard that code hosts and editors read."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import quote

from sparsec.cli.findings import Finding, sentence
from sparsec.diagnostics import CODES, Diagnostic, Fix, explain
from sparsec.source import Span

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def write(found: Iterable[Finding]) -> str:
    reported = [(each, diagnostic) for each in found for diagnostic in each.diagnosis.diagnostics]
    codes = sorted({diagnostic.code for _, diagnostic in reported})
    run = {
        "tool": {"driver": {"name": "sparsec", **_version(), "rules": [_rule(code) for code in codes]}},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": True}],
        "results": [_result(each, diagnostic, codes) for each, diagnostic in reported],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _version() -> dict[str, str]:
    try:
        return {"version": version("sparsec")}
    except PackageNotFoundError:  # from a checkout
        return {}


def _rule(code: str) -> dict:
    kind = CODES[code]
    return {
        "id": code,
        "name": kind.__name__,
        "shortDescription": {"text": kind.title},
        "fullDescription": {"text": inspect.cleandoc(kind.__doc__ or kind.title)},
        "help": {"text": explain(code)},
        "defaultConfiguration": {"level": kind.severity},
    }


def _result(found: Finding, diagnostic: Diagnostic, codes: list[str]) -> dict:
    place: dict[str, object] = {"artifactLocation": _artifact(found.place(diagnostic))}
    if diagnostic.span is not None:
        place["region"] = _region(diagnostic.span)
    result = {
        "ruleId": diagnostic.code,
        "ruleIndex": codes.index(diagnostic.code),
        "level": diagnostic.severity,
        "message": {"text": sentence(diagnostic)},
        "locations": [{"physicalLocation": place}],
    }
    fixes = [_fix(fix) for fix in diagnostic.fixes]
    return {**result, "fixes": fixes} if fixes else result


def _fix(fix: Fix) -> dict:
    replacement = {"deletedRegion": _region(fix.span), "insertedContent": {"text": fix.replacement}}
    change = {"artifactLocation": _artifact(fix.span.source.name), "replacements": [replacement]}
    return {"description": {"text": fix.title}, "artifactChanges": [change]}


def _region(span: Span) -> dict[str, int]:
    (line, column), (last, end) = map(span.source.position, (span.start, span.end))
    return {"startLine": line, "startColumn": column, "endLine": last, "endColumn": end}


def _artifact(name: str) -> dict[str, str]:
    """A name as a URI: relative ones stay so, for hosts that know the checkout."""
    path = Path(name)
    return {"uri": path.as_uri() if path.is_absolute() else quote(os.fsencode(path.as_posix()))}
