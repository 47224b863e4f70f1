"""Tests on a GPU that hang fail: nothing else ends a kernel that waits for ever."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator

import pytest

LIMIT = 300  # seconds that a test may take, compilers included


@pytest.fixture(scope="session")
def errors(pytestconfig: pytest.Config) -> Iterator[int]:
    """Standard error, which tests have captured."""
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        found = os.dup(2)
    yield found
    os.close(found)


@pytest.fixture(autouse=True)
def a_hang_is_a_failure(errors: int) -> Iterator[None]:
    """Ends the process, with a traceback that names the test."""
    faulthandler.dump_traceback_later(LIMIT, exit=True, file=errors)
    yield
    faulthandler.cancel_dump_traceback_later()
