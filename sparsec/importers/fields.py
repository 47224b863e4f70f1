"""Fields of another program's configuration, an object or a dict, each checked as it is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from textwrap import wrap
from typing import Any, TypeGuard

from sparsec.diagnostics import SparsecError, WrongConfig

_MISSING = object()
_NO_SLIP = {"decoder_layers"}  # beside encoder_layers


def wrong(kind: str, problem: str, hint: str = "") -> SparsecError:
    """The error for a configuration of this kind."""
    return SparsecError(WrongConfig(kind=kind, problem=problem, hint=hint))


@dataclass
class Fields:
    """`kind` names the configuration in messages; `read` collects what was asked for, for the text's comments."""

    config: object
    kind: str
    read: dict[str, object] = field(default_factory=dict)

    def value(self, name: str, default: object = _MISSING) -> Any:
        """Any field; without a default it must be there."""
        if isinstance(self.config, Mapping):
            found = self.config.get(name, default)
        else:
            found = getattr(self.config, name, default)
        if found is _MISSING:
            self.read[name] = None
            self.refuse_misspelt()
            raise wrong(self.kind, f"it has no `{name}`")
        self.read[name] = found
        return found

    def refuse_misspelt(self) -> None:
        """Refuse a field whose name is almost one that was read; those with an underscore first are not for users."""
        given = self.config if isinstance(self.config, Mapping) else getattr(self.config, "__dict__", {})
        others = [name for name in given if name not in {*self.read, *_NO_SLIP} and not name.startswith("_")]
        for name in self.read:
            if close := get_close_matches(name, others, n=1, cutoff=0.9):
                raise wrong(self.kind, f"it has no field `{close[0]}`", f"did you mean `{name}`?")

    def integer(self, name: str, default: object = _MISSING, least: int = 1) -> int:
        found = self.value(name, default)
        if not _is_integer(found, least):
            raise wrong(self.kind, f"`{name}` is {found!r}, and not an integer of at least {least}")
        return found

    def integers(self, name: str, default: object = _MISSING, least: int = 1) -> list[int]:
        found = self.value(name, default)
        if not isinstance(found, list | tuple) or not found or not all(_is_integer(each, least) for each in found):
            raise wrong(self.kind, f"`{name}` is {found!r}, and not a list of integers of at least {least}")
        return list(found)

    def flag(self, name: str, default: bool = False) -> bool:
        found = self.value(name, default)
        if found not in (None, False, True):
            raise wrong(self.kind, f"`{name}` is {found!r}, and not true or false")
        return bool(found)

    def choice(self, name: str, choices: Iterable[str], default: object = _MISSING) -> str:
        found, choices = self.value(name, default), tuple(choices)
        if found not in choices:
            raise wrong(self.kind, f"`{name}` is {found!r}", f"known are {', '.join(choices)}")
        return found

    def comment(self, *lines: str) -> str:
        """The fields that were read, and remarks, as comments."""
        shown = ", ".join(f"{name} = {_shown(value)}" for name, value in self.read.items() if value is not None)
        wrapped = wrap(f"From {self.kind}: {shown}.", 116) if shown else [f"From {self.kind}."]
        return "".join(f"# {line}\n" for line in (*wrapped, *lines))


def _is_integer(value: object, least: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _shown(value: object) -> str:
    """The first of a long list, such as one entry for each layer, stands for all."""
    if isinstance(value, list | tuple) and len(value) > 8:
        return f"[{value[0]!r}, ...] of {len(value)}"
    return repr(value)
