"""Which revision of the project is at work."""

import subprocess


def revision() -> str:
    """The commit of the folder that this runs in, with ``+ changes`` if files differ from it; empty where there is no git."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit} + changes" if changed else commit
