"""SP07xx: files, the cache, the environment."""

from __future__ import annotations

from dataclasses import dataclass

from sparsec.diagnostics.core import Diagnostic, Example


@dataclass(frozen=True, kw_only=True)
class CannotRead(Diagnostic, code="SP0701", title="file can't be read"):
    """The file does not exist, is no ordinary file, or may not be read.

    A name in `use` or `blocks` is relative to the folder of the file that it stands in.
    """

    name: str
    reason: str
    message = "can't read `{name}`: {reason}"
    label = "{reason}"
    example = Example('use "nowhere.spat"\npattern p = causal\n')
    cure = "Correct the name."


@dataclass(frozen=True, kw_only=True)
class CannotWrite(Diagnostic, code="SP0702", title="output can't be written"):
    """The folder for the output can't be made or written to, or the disk is full."""

    name: str
    reason: str
    message = "can't write `{name}`: {reason}"
    example = Example(
        'import sparsec\n\nsparsec.compile("pattern p = causal").write("/nowhere/at/all")',
        python=True,
    )
    cure = "Choose another folder with `-o`."


@dataclass(frozen=True, kw_only=True)
class CircularUse(Diagnostic, code="SP0703", title="a file that uses itself"):
    """A file can't use itself, neither directly nor through others."""

    cycle: str
    message = "a file can't use itself: {cycle}"
    label = "leads back to a file that is being read"
    example = Example('use "a.spat"\npattern p = causal\n', files={"a.spat": 'use "a.spat"\n'})
    cure = "Move what both files need into a third."
