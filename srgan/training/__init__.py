"""The training loop, its objective, checkpoints and log. Needs PyTorch and no orchestration."""
