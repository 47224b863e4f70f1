"""What a pattern says (`program`, its `inputs`) and what a call says (`arguments`, `checks`), as data."""
