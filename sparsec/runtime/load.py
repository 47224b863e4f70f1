"""`sparsec.load` and `sparsec.compile`."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import TypeVar

from sparsec import files
from sparsec.diagnostics import PatternWarning
from sparsec.runtime.attend import Attend
from sparsec.runtime.build_or_load import Chosen, Found, fetch

Result = TypeVar("Result")

_MOST_BYTES = 8_000_000  # the compiler refuses longer texts


def load(
    path: str | os.PathLike[str],
    /,
    *,
    pattern: str | None = None,
    heads: int | None = None,
    layer: int | None = None,
    layers: int | None = None,
    parameters: Mapping[str, int] | None = None,
    **more: int,
) -> Attend:
    """The operator of a pattern in a .spat file.

        attend = sparsec.load("longformer.spat", w=256, g=32)

    `pattern` chooses one by name in a file with several.  `heads` (number of query heads), `layer` (counted from 0)
    and `layers` are needed by patterns that mention h, H, layer or L.  All other keywords bind the pattern's
    parameters; one that is called like a keyword of this function goes into `parameters`:
    `load(path, parameters={"parameters": 3})`.

    Raises SparsecError with every error found.  What `sparsec check` warns of comes as `sparsec.PatternWarning`, which
    `warnings.simplefilter("ignore", sparsec.PatternWarning)` silences.  What was compiled is kept in the
    user's cache (see `sparsec cache --info`), so that the next process only reads it.
    """
    name = os.fsdecode(path)
    return operator(name, _contents(name), Chosen(pattern, heads, layer, layers, _merged(parameters, more)))


def compile(
    text: str,
    /,
    *,
    pattern: str | None = None,
    heads: int | None = None,
    layer: int | None = None,
    layers: int | None = None,
    parameters: Mapping[str, int] | None = None,
    **more: int,
) -> Attend:
    """The operator of a pattern in a string; keywords and errors as of `load`.

        attend = sparsec.compile("pattern p(w = 512) = past(w) | sinks(4)", w=256)

    Files that it uses are relative to the working folder.  ValueError for the name of a file.
    """
    if not isinstance(text, str):
        raise TypeError(f"the text of a pattern is a str, not {type(text).__name__}; sparsec.load reads files")
    if text.endswith(".spat"):  # no text of the language does
        raise ValueError(f"{text[-80:]!r} names a file, which sparsec.load reads; sparsec.compile takes its text")
    return operator("<text>", text, Chosen(pattern, heads, layer, layers, _merged(parameters, more)))


def operator(name: str, content: str | bytes | None, chosen: Chosen, stacklevel: int = 3) -> Attend:
    """The operator of the text `content` of the file `name`; warnings point `stacklevel` calls up."""
    found, attend = _untraced(_made)(name, content, chosen)
    for remark in found.remarks:
        warnings.warn(remark, stacklevel=stacklevel)
    for warning in found.record.warnings:
        warnings.warn(warning, PatternWarning, stacklevel=stacklevel)
    return attend


def _made(name: str, content: str | bytes | None, chosen: Chosen) -> tuple[Found, Attend]:
    found = fetch(name, content, chosen)
    counts = {"heads": chosen.heads, "layer": chosen.layer, "layers": chosen.layers}
    given = {count: int(value) for count, value in counts.items() if value is not None}
    return found, Attend(found.text, found.record, found.path, given)


_UNTRACED = "a pattern is compiled here: for fullgraph=True, compile it before"
for _function in (load, compile, operator):  # what torch.compile says where it may not leave the graph
    _function._torchdynamo_disable, _function._torchdynamo_disable_msg = True, _UNTRACED  # type: ignore[union-attr]


def _untraced(function: Callable[..., Result]) -> Callable[..., Result]:
    """A function that torch.compile does not look into, where it has been loaded: compilers can't be traced."""
    dynamo = sys.modules.get("torch._dynamo")
    return dynamo.disable(function, reason=_UNTRACED) if dynamo else function


def _merged(given: Mapping[str, int] | None, more: Mapping[str, int]) -> dict[str, int]:
    given = dict(given or {})
    if twice := given.keys() & more.keys():
        raise TypeError(f"parameter {min(twice)!r} is given twice, as a keyword and in `parameters`")
    return {**given, **more}


def _contents(path: str) -> bytes | None:
    """The bytes of a file; None when it can't be read or is too long, which the compiler will say better."""
    try:
        return files.read(path, _MOST_BYTES)
    except (OSError, ValueError):
        return None
