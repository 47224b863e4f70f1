"""Data for the inputs of a pattern from the command line: `--given doc=ids.npy`, `--given m=64`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

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
    from sparsec.ir.inputs import of_row, refuse_inputs
    from sparsec.runtime.given import checked, loaded
    from sparsec.show.sample import MOST, samples

    arrays = {name: loaded(value) for name, value in map(_value, given or ())}
    drawn = [each for each in pattern.inputs if each.choice and each.name not in arrays]
    n = _KEYS if drawn and n is None else n
    if drawn and n is not None and n <= MOST:
        names = {each.name for each in drawn}
        arrays |= {name: some for name, some in samples(pattern, n).items() if name in names}
        words = " and ".join(sorted({_told(each) for each in drawn}))
        print(f"a sample: {words}", file=sys.stderr)
    if any(each.name not in arrays for each in pattern.inputs):
        refuse_inputs(pattern, what, _HINT)
    along = [arrays[each.name] for each in pattern.inputs if each.axes[-1:] == ("n",)]
    n = along[0].shape[-1] if along and along[0].ndim and n is None else n
    whole, _ = checked(pattern, arrays, n)
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
    from sparsec.runtime.given import checked, loaded
    from sparsec.runtime.sample import drawn
    from sparsec.show.sample import MOST, samples

    if not pattern.inputs and not given:
        return {}, {}
    told = dict(map(_value, given or ()))
    absent = [each for each in pattern.inputs if each.name not in told]
    arrays, words = drawn([each for each in absent if not each.choice], n, batch, heads, seed)
    chosen = [each for each in absent if each.choice]
    if chosen and n <= MOST:
        arrays |= samples(pattern, n, seed)
        words |= {each.name: _told(each) for each in chosen}
    whole, _ = checked(pattern, arrays | {name: loaded(value) for name, value in told.items()}, n)
    words = {name: f"drawn by seed {seed}: {text}" for name, text in words.items()}
    return whole, {each.name: words.get(each.name) or str(told[each.name]) for each in pattern.inputs}


def _value(text: str) -> tuple[str, int | str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value:
        raise typer.BadParameter(f"{text!r} is not NAME=FILE.npy or NAME=INTEGER", param_hint="--given")
    try:
        return name.strip(), int(value)
    except ValueError:
        return name.strip(), value
