"""Learning from 5 to 50 images: `srgan finetune`."""
