"""``python -m srgan``."""

from srgan.commands.main import main

if __name__ == "__main__":
    main()
