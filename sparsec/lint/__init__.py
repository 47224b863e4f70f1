"""Remarks and advice about patterns, each proved: what `sparsec check` and `check --lint` print."""
