"""Speedruns: trainings of a fixed time on fixed data, and their board of records, ``benchmarks/LEADERBOARD.md``."""
