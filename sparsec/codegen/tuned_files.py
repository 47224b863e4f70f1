"""Files of tuned settings: the package's, and above it a user's own.  What they hold goes into generated code, so
every field is checked.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path

from sparsec import files
from sparsec.codegen.tuned import FORMAT, Place, Tuned
from sparsec.diagnostics import CannotRead, SparsecError, TunedUnusable
from sparsec.kernels.machine.settings import KERNELS, SETTINGS, Setting

VARIABLE = "SPARSEC_TUNED"

_WIDTHS = {"fp32": 4, "fp16": 2, "bf16": 2}  # bytes per element
_TIERS = tuple(dict.fromkeys(tier for tier, _, _ in SETTINGS))
_SIZES = tuple(dict.fromkeys(size for _, _, size in SETTINGS))
_BLOCKS_M, _BLOCKS_N = (16, 32, 64, 128), (16, 32, 64, 128, 256)  # rows are padded to whole tiles of 128
_WARPS, _STAGES = (1, 2, 4, 8, 16), range(1, 9)
_REGISTERS = range(24, 256, 8)
_GPU = re.compile(r'[^"\\]{1,80}')  # goes into generated code, as a string
_SHAPE = re.compile(r"[a-z0-9.]{1,120}")
_FIELDS = {"gpu", "tier", "dtype", "head_size", "kernel", "shape", "setting"}
_MOST_BYTES = 1 << 24


def own_path() -> Path | None:
    """A user's own file: SPARSEC_TUNED (empty: none), or `tuned.json` in the user's folder of settings."""
    chosen = os.environ.get(VARIABLE)
    if chosen is not None:
        return Path(os.path.expanduser(chosen)).absolute() if chosen else None
    from platformdirs import user_config_path

    try:
        return user_config_path("sparsec", appauthor=False) / "tuned.json"
    except RuntimeError:  # a user without a home
        return None


def read(path: Path | None) -> bytes:
    """The bytes of a file of settings, none where there is no file.  SparsecError SP0701 where it can't be read."""
    try:
        if path is None:
            return b""
        data = files.read(path, _MOST_BYTES)
    except FileNotFoundError:
        return b""
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise SparsecError(CannotRead(name=str(path), reason=reason)) from None
    if data is None:
        raise _unusable(str(path), "", f"it has more than {_MOST_BYTES:,} bytes")
    return data


def stored(path: Path | None) -> Tuned:
    """The settings of a file, none where there is no file.  SparsecError SP0701 and SP0706."""
    data = read(path)
    return parse(data, str(path)) if data else Tuned()


def known(own: bytes | None = None) -> Tuned:
    """The package's settings under the user's, whose bytes may be given.  SparsecError SP0701 and SP0706."""
    path = own_path()
    data = read(path) if own is None else own
    return parse(data, str(path)).over(packaged()) if data else packaged()


@cache
def packaged() -> Tuned:
    """The settings that come with sparsec."""
    path = resources.files("sparsec.codegen") / "tuned.json"
    return parse(path.read_bytes(), str(path))


# ---------------------------------------------------------------- from text


def parse(data: bytes, name: str) -> Tuned:
    """The settings in the bytes of a file called `name`.  SparsecError SP0706 with what is wrong where."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _unusable(name, "", f"it is not JSON: {error}") from None
    if not isinstance(content, dict) or set(content) != {"format", "settings"}:
        raise _unusable(name, "", 'it must be {"format": 1, "settings": [...]}')
    if content["format"] != FORMAT or isinstance(content["format"], bool):
        raise _unusable(name, "", f"its format is {str(content['format'])[:20]}, and this sparsec reads {FORMAT}")
    if not isinstance(content["settings"], list):
        raise _unusable(name, "", "`settings` must be a list")
    settings: dict[Place, Setting] = {}
    measured: dict[Place, dict] = {}
    for number, entry in enumerate(content["settings"], 1):
        if problem := _problem(entry):
            raise _unusable(name, f", entry {number}", problem)
        place = Place(**{name: entry[name] for name in Place.__slots__})
        if place in settings:
            raise _unusable(name, f", entry {number}", "an entry before it is for the same kernel")
        settings[place] = tuple(entry["setting"])
        if "measured" in entry:
            measured[place] = entry["measured"]
    return Tuned(settings, measured)


def _unusable(name: str, where: str, problem: str) -> SparsecError:
    return SparsecError(TunedUnusable(name=name, where=where, problem=problem))


def _problem(entry: object) -> str | None:
    """What is wrong with an entry."""
    if not isinstance(entry, dict) or not _FIELDS <= set(entry) <= _FIELDS | {"measured"}:
        return f"its fields must be {', '.join(sorted(_FIELDS))} and, if wanted, measured"
    for name, allowed in (("tier", _TIERS), ("dtype", tuple(_WIDTHS)), ("head_size", _SIZES), ("kernel", KERNELS)):
        if not _among(entry[name], allowed):
            return f"`{name}` must be one of {', '.join(map(str, allowed))}"
    for name, form in (("gpu", _GPU), ("shape", _SHAPE)):
        if not isinstance(entry[name], str) or not entry[name].isprintable() or not form.fullmatch(entry[name]):
            return f"`{name}` is no name that a GPU or a shape can have"
    if (entry["tier"], _WIDTHS[entry["dtype"]], entry["head_size"]) not in SETTINGS:
        return f"tier {entry['tier']} is not for {entry['dtype']}"
    if "measured" in entry and not isinstance(entry["measured"], dict):
        return "`measured` must be an object"
    return _wrong_setting(entry["setting"])


def _wrong_setting(setting: object) -> str | None:
    if not isinstance(setting, list | tuple) or len(setting) != 5:
        return "`setting` must be [BLOCK_M, BLOCK_N, warps, stages, registers or null]"
    names = ("BLOCK_M", "BLOCK_N", "warps", "stages", "registers")
    allowed = (_BLOCKS_M, _BLOCKS_N, _WARPS, _STAGES, (None, *_REGISTERS))
    for name, value, values in zip(names, setting, allowed, strict=True):
        if not _among(value, values):
            return f"{name} must be one of {_listed(values)}"
    return None


def _among(value: object, allowed: Iterable[object]) -> bool:
    """1 is not True, nor 1.0."""
    return any(type(value) is type(each) and value == each for each in allowed)


def _listed(values: Iterable[object]) -> str:
    if isinstance(values, range):
        return f"{values[0]} to {values[-1]}"
    shown = ["null" if value is None else str(value) for value in values]
    return ", ".join(shown) if len(shown) < 10 else f"null and the multiples of 8 from {shown[1]} to {shown[-1]}"


def right(setting: Setting) -> bool:
    """Whether a file may hold it."""
    return _wrong_setting(setting) is None
