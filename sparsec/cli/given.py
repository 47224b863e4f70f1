"""Data for the inputs of a pattern from the command line: `--given doc=ids.npy`, `--given m=64`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
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
    from sparsec.show.sample import MOST, sample

    arrays = {name: loaded(value) for name, value in map(_value, given or ())}
    drawn = [each for each in pattern.inputs if each.choice and each.name not in arrays]
    n = _KEYS if drawn and n is None else n
    if drawn and n is not None and n <= MOST:
        arrays |= {each.name: sample(each.choice, n)[None, None] for each in drawn if each.choice}
        words = " and ".join(sorted({f"`{each.name.partition('.')[0]}`" for each in drawn}))
        print(f"a sample: {words} of random scores", file=sys.stderr)
    if any(each.name not in arrays for each in pattern.inputs):
        refuse_inputs(pattern, what, _HINT)
    along = [arrays[each.name] for each in pattern.inputs if each.axes[-1:] == ("n",)]
    n = along[0].shape[-1] if along and along[0].ndim and n is None else n
    whole, _ = checked(pattern, arrays, n)
    return of_row(pattern.inputs, whole, 0, 0), n


def data_or_sample(
    pattern: Pattern, given: list[str] | None, seed: int, n: int, batch: int, heads: int
) -> tuple[Data, dict[str, str]]:
    """Arrays of all inputs, with all their axes: those given, and drawn ones; what is told of each.

    SparsecError for data that can't be read or does not fit; BadParameter for a text that is none.
    """
    from sparsec.runtime.given import checked, loaded
    from sparsec.runtime.sample import drawn

    if not pattern.inputs and not given:
        return {}, {}
    told = dict(map(_value, given or ()))
    arrays, words = drawn([each for each in pattern.inputs if each.name not in told], n, batch, heads, seed)
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
