"""What is missing where a library is not installed that only some of sparsec needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sparsec.diagnostics.core import SparsecError
from sparsec.diagnostics.files import EnvironmentLacks

TORCH = "`pip install 'sparsec[cpu]'`, or `'sparsec[torch]'` where there is a GPU"


@contextmanager
def torch_for(wanted: str) -> Iterator[None]:
    """SparsecError SP0705 in the place of Python's own error where what is done within finds no torch."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "torch":  # a torch that is there, and broken
            raise
        raise SparsecError(EnvironmentLacks(wanted=wanted, lacking="torch", hint=TORCH)) from None
