"""Fuzz tests: thousands of damaged or hostile files for everything that reads files of strangers (`python -m tests.fuzz --help`)."""
