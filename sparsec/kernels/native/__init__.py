"""Launches in C, compiled where they run: text in `launches`, `chains` and `calls`, put together by `native`."""
