"""Tile sizes found by measurement, kept beside the pattern."""
