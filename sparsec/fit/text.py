"""Candidates: the patterns of a text with the values of their parameters; and the text of a pattern that chooses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from sparsec.syntax.ast import File


@dataclass(frozen=True)
class Candidate:
    """A pattern of a file by name, and what some of its parameters are bound to."""

    name: str
    parameters: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        """As it is called in a text."""
        bound = ", ".join(f"{name} = {value}" for name, value in self.parameters)
        return f"{self.name}({bound})" if bound else self.name


def candidates(file: File, varied: Mapping[str, Sequence[int]]) -> list[Candidate]:
    """Every pattern of a file, with all combinations of the varied values of parameters that it has."""
    found = []
    for each in file.definitions:
        if each.kind == "pattern":
            names = [one.name for one in each.parameters if one.name in varied]
            values = product(*(varied[name] for name in names))
            found += [Candidate(each.name, tuple(zip(names, some, strict=True))) for some in values]
    return found


def fitted(name: str, doc: str, chosen: Mapping[int, Sequence[Candidate]]) -> str:
    """The declaration of a pattern with one candidate for each layer and head; layers that are alike share an arm."""
    bodies = {layer: _by_head(list(map(str, heads))) for layer, heads in chosen.items()}
    body = _match("layer", bodies, "    ")
    quoted = doc.replace("\\", "\\\\").replace('"', '\\"')
    return f'"""{quoted}"""\npattern {name} =\n    {body}\n'


def _by_head(words: list[str]) -> str:
    return _match("h", dict(enumerate(words)), "        ")


def _match(integer: str, bodies: Mapping[int, str], indent: str) -> str:
    """The bodies by number; the most frequent one, which other numbers get too, stands behind `else`."""
    counts = Counter(bodies.values())
    usual = max(counts, key=lambda body: counts[body])
    if len(counts) == 1:
        return usual
    arms = {body: _ranges([number for number, own in bodies.items() if own == body]) for body in counts}
    lines = [f"{indent}    {ranges} -> {body}" for body, ranges in arms.items() if body != usual]
    return "\n".join([f"match {integer} {{", *lines, f"{indent}    else -> {usual}", f"{indent}}}"])


def _ranges(numbers: list[int]) -> str:
    """`0..4 | 7` for 0, 1, 2, 3, 7; ends are not included."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number:
            runs[-1][1] += 1
        else:
            runs.append([number, number + 1])
    return " | ".join(f"{first}..{end}" if end - first > 1 else f"{first}" for first, end in runs)
