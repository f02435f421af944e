"""What the flows stand on: DVC, processes, locks, the GPU limit, the server."""
