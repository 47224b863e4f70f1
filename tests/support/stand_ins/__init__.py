"""Stand-ins of packages that sparsec is a part of, for machines without them: the interface, and not the host."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType


def is_installed(package: str) -> bool:
    """Whether the real package is there."""
    return find_spec(package) is not None


@contextmanager
def standing_in(package: str, contents: Mapping[str, Mapping[str, object]]) -> Iterator[None]:
    """Modules with these contents can be imported meanwhile, where the package is not installed."""
    if is_installed(package):
        yield
        return
    try:
        for name, attributes in contents.items():
            sys.modules[name] = ModuleType(name)
            vars(sys.modules[name]).update(attributes)
        yield
    finally:
        for name in contents:
            sys.modules.pop(name, None)
