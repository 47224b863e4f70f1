"""Operators timed against dense attention and FlexAttention."""
