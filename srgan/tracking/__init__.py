"""MLflow: runs, the model registry, promotion."""
