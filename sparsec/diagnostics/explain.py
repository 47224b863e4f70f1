"""What a code means, for people: in the terminal and as `docs/errors.md`."""

from __future__ import annotations

import inspect
import textwrap

from sparsec.diagnostics.core import CODES, Diagnostic

_GROUPS = {
    "SP01": "Text and syntax",
    "SP02": "Names, arguments and sorts",
    "SP03": "Numbers",
    "SP04": "Heads and layers",
    "SP05": "Tables",
    "SP06": "The call",
    "SP07": "Files, cache and environment",
    "SP08": "Limits",
    "SP09": "What a set amounts to",
}


def explain(code: str) -> str:
    """The explanation of a code, an example that produces it and its cure.  KeyError when there is no such code."""
    kind = CODES[code.upper()]
    return "\n\n".join(
        [
            f"{kind.severity}[{kind.code}]: {kind.title}",
            inspect.cleandoc(kind.__doc__ or ""),
            "Example:\n\n" + textwrap.indent(kind.example.text.rstrip(), "    "),
            f"Cure: {kind.cure}",
        ]
    )


def errors_page() -> str:
    """`docs/errors.md`: every code with its explanation, example and cure."""
    lines = [
        "# Errors and warnings",
        "",
        "Every message has a code, `sparsec explain CODE` says what stands here, all errors of a file come at once.",
        "This page is made by `python -m sparsec.diagnostics > docs/errors.md`.",
    ]
    group = ""
    for code in sorted(CODES):
        if code[:4] != group:
            group = code[:4]
            lines += ["", f"## {group}xx: {_GROUPS[group]}"]
        lines += ["", *_section(CODES[code])]
    return "\n".join(lines) + "\n"


def _section(kind: type[Diagnostic]) -> list[str]:
    warning = " (warning)" if kind.severity == "warning" else ""
    return [
        f'<a id="{kind.code.lower()}"></a>',  # docs/errors.md#sp0201, whatever its title
        "",
        f"### {kind.code}: {kind.title}{warning}",
        "",
        inspect.cleandoc(kind.__doc__ or ""),
        "",
        f"```{kind.example.language}",
        kind.example.text.rstrip(),
        "```",
        "",
        *_passed(kind),
        f"Cure: {kind.cure}",
    ]


def _passed(kind: type[Diagnostic]) -> list[str]:
    """What the caller of the example passes, and the files beside it."""
    example = kind.example
    given = {name: getattr(example, name) for name in ("heads", "layer", "layers")} | dict(example.parameters)
    shown = ", ".join(f"{name}={value}" for name, value in given.items() if value is not None)
    passed = [f"Compiled with `{shown}`.", ""] if shown else []
    for name, text in example.files.items():
        passed += [f"Beside it `{name}`: `{text.strip()}`", ""]
    return passed
