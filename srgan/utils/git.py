"""Which revision of the project is at work, and in which working copy."""

import subprocess
from pathlib import Path


def revision() -> str:
    """The commit of the project in the current folder, with ``+ changes`` if files differ from it.

    Empty where there is no git, no commit, or only a repository around the project that does not track it: an unpacked download inside
    another repository is not of that one's commit.
    """
    try:
        if not _git("ls-files", "dvc.yaml"):
            return ""
        commit, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "-uno", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit} + changes" if changed else commit


def working_copy() -> Path:
    """The working copy whose files last: the current folder or, for the temporary copy of a DVC experiment, the one that it belongs to.

    ``dvc exp run --temp`` and ``dvc queue start`` run stages in a copy below ``.dvc/tmp/exps``, which DVC deletes afterwards.
    """
    here = Path.cwd()
    return next((folder.parents[2] for folder in here.parents if folder.parts[-3:] == (".dvc", "tmp", "exps")), here)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
