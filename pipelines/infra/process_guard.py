"""Run a command and end all its processes: ``python -m pipelines.infra.process_guard PARENT SECONDS COMMAND...``.

The command gets a process group of its own. The group is ended when this process gets SIGTERM or when PARENT, the process that asked for
the command, is gone. The group gets SIGTERM, then SECONDS to write a checkpoint, then SIGKILL. A separate process does this, since a flow
that gets SIGKILL cannot end its own commands.
"""

import os
import signal
import subprocess
import sys
import time

LOOK = 0.1  # seconds between checks of the parent


def command(seconds: float, *arguments: str) -> list[str]:
    """Return the guarded form of a command. This process is its parent."""
    return [sys.executable, "-m", "pipelines.infra.process_guard", str(os.getpid()), str(seconds), *arguments]


def main() -> None:
    """Exit with the command's code, or with 143 if the command was stopped."""
    parent, seconds, arguments = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, lambda *_: None)  # from a terminal: the flow gets it too and ends this process
    process = subprocess.Popen(arguments, start_new_session=True)
    while process.poll() is None and not stopped and os.getppid() == parent:
        time.sleep(LOOK)
    code = 143 if process.poll() is None else process.returncode
    _end_group(process, seconds)  # also after the command's end: a training may outlive the `dvc` that started it
    sys.exit(code if code >= 0 else 128 - code)


def _end_group(process: subprocess.Popen[bytes], seconds: float) -> None:
    """End the process group and return when no process is left."""
    number, end = signal.SIGTERM, time.monotonic() + seconds
    while _signal_group(process.pid, number):
        number = 0  # check only
        process.poll()  # reaps the leader, which counts as a member until then
        if time.monotonic() > end:
            number = signal.SIGKILL
        time.sleep(0.05)


def _signal_group(group: int, number: int) -> bool:
    """Send a signal (0: none) to the group, and return True if the group still exists."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # no process left, or on macOS only ended ones
        return False
    return True


if __name__ == "__main__":
    main()
