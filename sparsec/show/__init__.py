"""Pictures of masks, drawn from the reference where they are small, from sets where n is large."""

from sparsec.show.colour import supported
from sparsec.show.html import html
from sparsec.show.page import page
from sparsec.show.plain import picture
from sparsec.show.png import png
from sparsec.show.raster import View
from sparsec.show.scale import telling_length
from sparsec.show.svg import svg

__all__ = ["View", "html", "page", "picture", "png", "supported", "svg", "telling_length"]
