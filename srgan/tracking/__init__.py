"""MLflow: runs, the registry, promotion."""
