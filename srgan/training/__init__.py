"""The training loop and what keeps it safe. Needs torch and nothing of the orchestration."""
