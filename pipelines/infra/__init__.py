"""Infrastructure of the flows: DVC, processes, locks, the GPU limit and the server."""
