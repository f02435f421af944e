"""Operations that make a low-quality input from an original image."""
