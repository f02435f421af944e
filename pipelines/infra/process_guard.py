"""Run a command, and leave nothing of it behind: ``python -m pipelines.infra.process_guard PARENT SECONDS COMMAND...``.

The command gets a process group of its own. When this process gets SIGTERM, or PARENT (the process that asked for the command) is gone,
the whole group gets SIGTERM, then SECONDS to write a checkpoint, then SIGKILL. A process of its own does this because a flow that is
killed outright can end nothing any more.
"""

import os
import signal
import subprocess
import sys
import time

LOOK = 0.1  # seconds between looks at the parent


def command(seconds: float, *arguments: str) -> list[str]:
    """A command under guard, for this process to start."""
    return [sys.executable, "-m", "pipelines.infra.process_guard", str(os.getpid()), str(seconds), *arguments]


def main() -> None:
    """Exits with the command's code, 143 if the command was stopped."""
    parent, seconds, arguments = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, lambda *_: None)  # of a terminal: the flow gets it too, and ends this
    process = subprocess.Popen(arguments, start_new_session=True)
    while process.poll() is None and not stopped and os.getppid() == parent:
        time.sleep(LOOK)
    code = 143 if process.poll() is None else process.returncode
    _end_group(process, seconds)  # also where the command has ended: a trainer may outlive the `dvc` that started it
    sys.exit(code if code >= 0 else 128 - code)


def _end_group(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Return when no process of the group is left."""
    number, end = signal.SIGTERM, time.monotonic() + seconds
    while _signal_group(process.pid, number):
        number = 0  # only look
        process.poll()  # reaps the leader, which would otherwise count as a member for ever
        if time.monotonic() > end:
            number = signal.SIGKILL
        time.sleep(0.05)


def _signal_group(group: int, number: int) -> bool:
    """Send a signal (0: none) to the group. Returns whether there is such a group still."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # none left; or, on macOS, only ended ones
        return False
    return True


if __name__ == "__main__":
    main()
