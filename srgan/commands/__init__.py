"""The command line: `srgan COMMAND`."""
