"""Data for the inputs of a pattern from the command line: `--given doc=ids.npy`, `--given m=64`."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sparsec.ir.inputs import Input
    from sparsec.ir.nodes import Pattern
    from sparsec.ir.reference import Data

Given = Annotated[
    list[str] | None,
    typer.Option("--given", metavar="NAME=VALUE", help="An input's data: a .npy file, or an integer; may be repeated."),
]
Sample = Annotated[
    int | None,
    typer.Option("--sample", min=0, metavar="SEED", help="Draw the data of inputs that --given does not give."),
]
_KEYS = 1024  # of a sample, where no number is asked for
_HINT = "`--given NAME=FILE.npy`, or `--given NAME=64` for a number"


def data_of(pattern: Pattern, given: list[str] | None, n: int | None, what: str) -> tuple[Data, int | None]:
    """What the first row of a batch and the first head read of the inputs, and the number of keys that these tell.

    What the pattern chooses itself is drawn, where keys are few enough to be looked at, and said to be on stderr.
    SparsecError for data that is missing, can't be read or does not fit; BadParameter for a text that is none.
    """
    from sparsec.ir.inputs import of_row
    from sparsec.runtime.given import checked, loaded
    from sparsec.show.sample import MOST, samples

    arrays = {name: loaded(value) for name, value in _values(given).items()}
    drawn = [each for each in pattern.inputs if each.choice and each.name not in arrays]
    n = _KEYS if drawn and n is None else n
    if drawn and n is not None and n <= MOST:
        names = {each.name for each in drawn}
        arrays |= {name: some for name, some in samples(pattern, n).items() if name in names}
        words = " and ".join(sorted({_told(each) for each in drawn}))
        print(f"a sample: {words}", file=sys.stderr)
    along = [arrays[each.name] for each in pattern.inputs if each.axes[-1:] == ("n",) and each.name in arrays]
    n = along[0].shape[-1] if along and along[0].ndim and n is None else n
    whole, _ = checked(pattern, arrays, n, what=what, hint=_HINT)
    return of_row(pattern.inputs, whole, 0, 0), n


def _told(own: Input) -> str:
    """What a sample of an input that is chosen is."""
    word = own.name.partition(".")[0]
    of = {"lsh": "random hashes", "routed": "random clusters"}.get(word, "random scores")
    return f"`{word}` of {of}"


def data_or_sample(
    pattern: Pattern, given: list[str] | None, seed: int, n: int, batch: int, heads: int
) -> tuple[Data, dict[str, str]]:
    """Arrays of all inputs, with all their axes: those given, and drawn ones; what is told of each.

    What the pattern chooses itself is drawn where keys are few enough to be looked at.  SparsecError for data that
    can't be read or does not fit; BadParameter for a text that is none.
    """
    from sparsec.runtime.given import checked
    from sparsec.show.sample import MOST, samples

    arrays, words = _declared(pattern, given, seed, n, batch, heads)
    absent = [each for each in pattern.inputs if each.name not in arrays]
    if absent and n <= MOST:
        arrays |= {name: some for name, some in samples(pattern, n, seed).items() if name not in arrays}
        words |= {each.name: f"drawn by seed {seed}: {_told(each)}" for each in absent}
    return checked(pattern, arrays, n)[0], words


def data_of_call(
    pattern: Pattern, given: list[str] | None, seed: int, n: int, batch: int, heads: int, head_size: int
) -> tuple[Data, dict[str, str]]:
    """As `data_or_sample`, of what a call gives alone: also the numbers that a pattern chooses by, and no choices."""
    from sparsec.runtime.given import checked
    from sparsec.runtime.sample import drawn_reals

    own = replace(pattern, inputs=tuple(each for each in pattern.inputs if not each.choice))
    arrays, words = _declared(own, given, seed, n, batch, heads)
    found, _ = checked(own, arrays, n)
    absent = [each for each in pattern.choice_inputs if each.name not in arrays]
    reals, more = drawn_reals(absent, n, batch, head_size, seed)
    reals |= {each.name: arrays[each.name] for each in pattern.choice_inputs if each.name in arrays}
    return {**found, **reals}, words | {name: f"drawn by seed {seed}: {text}" for name, text in more.items()}


def _declared(
    pattern: Pattern, given: list[str] | None, seed: int, n: int, batch: int, heads: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """The arrays that are given, and of other inputs that the text declares drawn ones; what is told of each."""
    from sparsec.runtime.given import loaded
    from sparsec.runtime.sample import drawn

    told = _values(given)
    arrays, words = drawn(
        [each for each in pattern.inputs if each.name not in told and not each.choice], n, batch, heads, seed
    )
    words = {name: f"drawn by seed {seed}: {text}" for name, text in words.items()}
    return arrays | {name: loaded(value) for name, value in told.items()}, words | {
        name: str(value) for name, value in told.items()
    }


def _values(given: list[str] | None) -> dict[str, int | str]:
    """What is given, by input."""
    found: dict[str, int | str] = {}
    for name, value in map(_value, given or ()):
        if name in found:
            raise typer.BadParameter(f"{name} is given twice", param_hint="--given")
        found[name] = value
    return found


def _value(text: str) -> tuple[str, int | str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value:
        raise typer.BadParameter(f"{text!r} is not NAME=FILE.npy or NAME=INTEGER", param_hint="--given")
    try:
        return name.strip(), int(value)
    except ValueError:
        return name.strip(), value
