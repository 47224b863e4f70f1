"""Copies of sets, for what changes the very object that it is asked about, as isl's lexmin does."""

from __future__ import annotations

import islpy as isl


def copied(values: isl.Set) -> isl.Set:
    """The set again, for others to ask about: lexmin changes what it is asked about, if not parameters alone."""
    if not values.dim(isl.dim_type.set):
        return values
    return values.set_dim_name(isl.dim_type.set, 0, values.get_dim_name(isl.dim_type.set, 0))


def unshared(values: isl.Set) -> isl.Set:
    """The set again, for lexmin and what is built on it: these take constraints off the very object that they are
    asked about, and off all that share its parts, some of them not needless.
    """
    return values.set_dim_name(isl.dim_type.set, 0, "unshared")  # a new name makes isl copy every part
