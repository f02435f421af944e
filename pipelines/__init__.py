"""Prefect flows over the DVC stages. The only folder that imports Prefect."""
