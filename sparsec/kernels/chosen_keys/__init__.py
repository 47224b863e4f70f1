"""Keys that each query lists for itself, loaded one by one: `launch` decides and launches `kernels` over `rows`."""
