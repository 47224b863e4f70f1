"""What a claim about a pattern holds for: the parameters, heads and layer that its text depends on, in words."""

from __future__ import annotations

from collections.abc import Mapping

from sparsec.ir.lower_graph import mentions
from sparsec.ir.lower_scope import Entry
from sparsec.syntax import ast


def binding(entry: Entry, parameters: Mapping[str, int], counts: Mapping[str, int], head: int | None = None) -> str:
    """`, for w = 64, head 3 of 8 and layer 0`, as far as the text depends on them; else empty.

    `counts` holds H, L and layer as far as they are given; without `head` the claim is about all heads.
    """
    needs = mentions(entry)
    words = [f"{name} = {parameters[name]}" for name in used_parameters(entry.definition) if name in parameters]
    if {"h", "H"} & set(needs) and "H" in counts:
        one = head is not None and "h" in needs
        words.append(f"head {head} of {counts['H']}" if one else f"{counts['H']} head{'s' * (counts['H'] > 1)}")
    if "layer" in needs and "layer" in counts:
        words.append(f"layer {counts['layer']}" + (f" of {counts['L']}" if "L" in counts else ""))
    elif "L" in needs and "L" in counts:
        words.append(f"{counts['L']} layers")
    return ", for " + " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""


def used_parameters(definition: ast.Definition) -> list[str]:
    """The parameters that the body names, in the order of their declaration."""
    named = {node.name for node in ast.walk(definition.body) if isinstance(node, ast.Name)}
    return [parameter.name for parameter in definition.parameters if parameter.name in named]
