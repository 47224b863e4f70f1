"""Conditions as integer sets (isl): projections, bounds and proofs, each within a budget."""
