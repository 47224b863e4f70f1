"""Every way to use a text says the same about it."""

from __future__ import annotations

import re
import warnings

import pytest

from sparsec.diagnostics import PatternWarning, SparsecError

ODD = {
    "pattern p = causal & q - k in {1, 2}": {"SP0901"},
    "pattern causal_window = window(8)": {"SP0902"},
    "pattern p = past(8) | past(4)": {"SP0903"},
    "pattern p = sinks(4) | past(8) \\ past(2)": {"SP0904"},
    "pattern p = q - k < 8": {"SP0912"},
    "pattern p = causal": set(),
}
COMMANDS = ("check", "show --n 32", "cost", "compile --emit plan", "diff p.spat", "verify --n 8", "tune --dry-run")


@pytest.mark.parametrize("text", ODD)
def test_all_commands_and_python_warn_alike(text: str, sparsec, spat) -> None:
    import sparsec as library

    name = spat(text + "\n")
    for command in COMMANDS:
        ran = sparsec(*command.split(), name)
        assert set(re.findall(r"warning\[(SP\d+)\]", ran.err)) == ODD[text], command
        assert ran.status == 0
    for make in (library.compile, lambda text: library.load("p.spat")):
        for _ in range(2):  # also when it comes from the cache
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                make(text)
            assert {each.category for each in said} <= {PatternWarning}
            assert {str(each.message)[8:14] for each in said} == ODD[text]
    assert library.PatternWarning is PatternWarning
    assert issubclass(PatternWarning, UserWarning)


def test_a_pattern_that_its_parameters_empty_is_an_error_everywhere(sparsec, spat) -> None:
    import sparsec as library

    name = spat("pattern p(w = 4) = past(w)\n")
    for command in COMMANDS:
        names = [name, "-D", "w=-1"]
        ran = sparsec(*command.split(), *names)
        assert "error[SP0906]" in ran.err, command
        assert ran.status == (2 if command.startswith("diff") else 1), command
    with pytest.raises(SparsecError, match="SP0906"):
        library.load(name, w=-1)
