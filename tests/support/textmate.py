"""A small interpreter of TextMate grammars: `match`, and `begin` / `end` with inner `match`es; no captures."""

from __future__ import annotations

import re
from collections.abc import Iterator


def scopes(grammar: dict, text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, scope) of what the grammar names, line by line, as editors evaluate it; the innermost last."""
    inside: dict | None = None
    at = 0
    for line in text.splitlines(keepends=True):
        place = 0
        while place <= len(line):
            rule, found, ends = _first(grammar["patterns"], inside, line, place)
            if rule is None:
                break
            if inside is not None:
                yield at + place, at + found.start(), inside["name"]
            yield at + found.start(), at + found.end(), (inside or rule)["name"]
            inside = None if ends else rule if "begin" in rule else inside
            place = found.end() if found.end() > place or "begin" in rule or ends else place + 1
        if inside is not None:
            yield at + place, at + len(line), inside["name"]
        at += len(line)


def _first(patterns: list[dict], inside: dict | None, line: str, place: int):
    """The rule that matches first, the earlier one of those at the same place; whether it ends the open one."""
    rules = [(inside, inside["end"], True)] if inside else []
    rules += [
        (rule, rule.get("match") or rule["begin"], False) for rule in (inside or {"patterns": patterns})["patterns"]
    ]
    found = [(rule, match, ends) for rule, text, ends in rules if (match := _compiled(text).search(line, place))]
    return min(found, key=lambda each: each[1].start(), default=(None, None, False))


def _compiled(text: str) -> re.Pattern[str]:
    """Oniguruma takes alternatives of different widths in a look-behind, Python does not."""
    return re.compile(re.sub(r"\(\?<=([^)|]*)\|([^)]*)\)", r"(?:(?<=\1)|(?<=\2))", text))
