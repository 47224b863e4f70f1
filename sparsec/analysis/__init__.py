"""Exact facts about patterns: counts, formulas, costs, relations, what a decoder must keep, derivatives of scores."""
