"""The git revision of a project."""

import subprocess
from pathlib import Path

from srgan.utils.addresses import without_secrets


def revision(root: Path) -> str:
    """Return the commit of the project in `root`, with ``+ changes`` if files differ from it.

    It is empty without git, without a commit, and for a project that the surrounding repository does not track, such as an unpacked
    download inside another repository.
    """
    try:
        if not _git(root, "ls-files", "dvc.yaml"):
            return ""
        commit, changed = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "-uno", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit} + changes" if changed else commit


def commit(root: Path) -> str:
    """Return the commit of the repository that holds `root`. It is empty without git or without a commit."""
    try:
        return _git(root, "rev-parse", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return ""


def origin(root: Path) -> str:
    """Return the public address of the repository that `root` was cloned from, without secrets. It is empty without one."""
    try:
        address = _git(root, "remote", "get-url", "origin")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return without_secrets(address) if address.startswith(("https://", "http://", "ssh://")) else ""


def changed_files(root: Path, *paths: str) -> list[str]:
    """Return the files below some paths that differ from the commit, also those that git does not track yet.

    Args:
        root: a folder of the repository.
        paths: relative to `root`.
    """
    lines = _git(root, "-c", "core.quotePath=false", "status", "--porcelain", "--untracked-files=all", "--", *paths).splitlines()
    return [line.strip().partition(" ")[2].strip() for line in lines]


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
