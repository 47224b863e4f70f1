"""`sparsec doctor`: is all there that sparsec needs, and does it work?"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer


def run(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Look at Python, libraries, GPU, compiler and cache, and try a small pattern against dense attention.

    Exit status: 0 well, 1 something needed is broken; the line below it says what to do.
    """
    from sparsec.doctor import looks

    found = []
    for look in looks():
        found.append(look)
        if not as_json:
            cure = f"\n{'':<18} cure: {look.cure}" if look.cure else ""
            print(f"{look.state:<7}{look.name:<11} {look.found}{cure}", flush=True)
    well = all(look.state != "broken" for look in found)
    if as_json:
        print(json.dumps({"format": 1, "well": well, "looks": [asdict(look) for look in found]}, indent=2))
    raise typer.Exit(0 if well else 1)
