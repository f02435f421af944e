"""Which revision of the project is at work, and in which working copy."""

import subprocess
from pathlib import Path


def revision() -> str:
    """The commit of the folder that this runs in, with ``+ changes`` if files differ from it; empty where there is no git."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit} + changes" if changed else commit


def working_copy() -> Path:
    """The working copy whose files last: the current folder or, for the temporary copy of a DVC experiment, the one that it belongs to.

    ``dvc exp run --temp`` and ``dvc queue start`` run stages in a copy below ``.dvc/tmp/exps``, which DVC deletes afterwards.
    """
    here = Path.cwd()
    return next((folder.parents[2] for folder in here.parents if folder.parts[-3:] == (".dvc", "tmp", "exps")), here)
