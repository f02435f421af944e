"""``python -m srgan``."""

from srgan.cli import main

if __name__ == "__main__":
    main()
