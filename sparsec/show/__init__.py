"""Pictures of masks, drawn from the reference: the dense meaning, on sampled cells where n is large."""

from sparsec.show.colour import supported
from sparsec.show.page import page
from sparsec.show.plain import picture
from sparsec.show.raster import View
from sparsec.show.svg import svg

__all__ = ["View", "page", "picture", "supported", "svg"]
