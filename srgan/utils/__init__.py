"""General helpers: errors, files, progress, processes."""
