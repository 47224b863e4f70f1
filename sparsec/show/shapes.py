"""Shapes and words on a plane: what a picture is made of before it is SVG or PNG.

Coordinates are pixels of an ordinary screen, y downwards.
"""

from __future__ import annotations

from dataclasses import dataclass

from sparsec.show.raster import Raster

GROUND, EMPTY = "#ffffff", "#f3f4f6"  # of the picture, of cells without a pair
INK, FAINT, FRAME = "#1f2328", "#59636e", "#8c959f"

Place = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A rectangle, filled or outlined."""

    at: Place
    size: tuple[float, float]
    fill: str | None = None
    stroke: str | None = None
    dashed: bool = False


@dataclass(frozen=True)
class Path:
    """Straight lines from point to point."""

    points: tuple[Place, ...]
    stroke: str = FRAME


@dataclass(frozen=True)
class Words:
    """One line of text: `at` is its start, middle or end on the base line; `upright` reads from below."""

    at: Place
    text: str
    anchor: str = "start"
    colour: str = INK
    upright: bool = False


@dataclass(frozen=True)
class Cells:
    """A raster, stretched to a box."""

    at: Place
    size: tuple[float, float]
    raster: Raster


Shape = Box | Path | Words | Cells
