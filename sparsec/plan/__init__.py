"""Pattern -> plan: which tiles are visited, in which layouts, by which kernels."""
