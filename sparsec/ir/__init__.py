"""Nodes of conditions and scores, their algebra, approximations, and the dense reference that defines them."""
