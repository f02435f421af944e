"""Start everything that scheduled flows need on this machine: ``make prefect`` or ``python -m pipelines.infra.server``.

The command starts a Prefect server on 127.0.0.1 and a worker. It creates the limit for the GPU, the work pool and the deployments of
``prefect.yaml``. It keeps running services as they are, so it can be repeated, for example after an edit of ``prefect.yaml``.

Prefect's API runs commands as the user of the worker. Therefore the server asks for a password (`pipelines.infra.password`) and pages of
other origins cannot read its answers. The jobs of the work pool have no variables, so no caller chooses a command, folder or environment.
"""

import contextlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path

import psutil

from pipelines.infra import password, process_guard
from srgan.config.project import Project
from srgan.utils.errors import SrganError

POOL = "srgan"
START_SECONDS = 180.0  # for the server on a busy machine with few cores
STOP_SECONDS = 90.0  # for the runs of a worker: a stage may need 30 to write its checkpoint
AT_ONCE = 4  # runs of the worker at the same time; one of them has the GPU
SHORT_LIFE = 20.0  # seconds: a service that ends sooner is not started again
JOBS = Path(__file__).with_name("pool.json")  # the job template of the work pool, without variables


def main() -> None:
    """Start what does not run yet, and wait for Ctrl-C if a service was started. With the argument `password`, print the password."""
    if sys.argv[1:] == ["password"]:
        print(
            password.stored() or sys.exit("pipelines.infra.server: error: there is no password yet; start the server first: make prefect")
        )
        return
    port = os.environ.get("PREFECT_SERVER_API_PORT", "4200")
    if not port.isdecimal():
        sys.exit(f"pipelines.infra.server: error: PREFECT_SERVER_API_PORT: needs a number, not '{port}'")
    pages = f"http://127.0.0.1:{port}"
    os.environ["PREFECT_API_URL"] = f"{pages}/api"
    # The lease of the GPU is on disk. In memory it would be lost in a crash of the server, and the GPU would stay taken.
    os.environ.setdefault("PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE", "prefect.server.concurrency.lease_storage.filesystem")
    os.environ.update(password.settings(password.keep(f"{pages}/api"), pages))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    from pipelines.infra.command import command  # imports Prefect, which reads its settings then

    with command("infra.server"), contextlib.ExitStack() as stack, contextlib.suppress(KeyboardInterrupt):
        started = []
        if _healthy(pages):
            _check_owner(int(port), pages)
            print(f"the server runs already: {pages}", flush=True)
        else:
            server = stack.enter_context(Service("server", "server", "start", "--host", "127.0.0.1", "--port", port))
            _wait(server, pages)
            started.append(server)
            print(f"the server runs: {pages}", flush=True)
        online = _prepare()
        _look_for_killed()
        _deploy()
        if online and not started:  # a server that has just started lists earlier workers as present
            print("a worker runs already", flush=True)
        else:
            name = f"{platform.node()}-{os.getpid()}"
            worker = Service("worker", "worker", "start", "--pool", POOL, "--name", name, "--limit", str(AT_ONCE))
            started.append(stack.enter_context(worker))
        if started:
            print(f"everything runs until Ctrl-C. {pages} asks for a password. This command prints it:", flush=True)
            print("  python -m pipelines.infra.server password\nStart a run with:", flush=True)
            print(f"  prefect --profile {password.PROFILE} deployment run train/on-demand", flush=True)
        while started:
            for service in started:
                service.revive()
            time.sleep(0.5)


class Service:
    """A `prefect` command that is started again if it ends. After the block, it and its processes are stopped."""

    def __init__(self, name: str, *arguments: str) -> None:
        self.name, self.arguments = name, arguments

    def __enter__(self) -> "Service":
        self.since = time.monotonic()
        # A new session keeps a terminal's Ctrl-C away. The worker ends before the server, so that its runs can report their end.
        command = process_guard.command(STOP_SECONDS, sys.executable, "-m", "prefect", *self.arguments)
        self.process = subprocess.Popen(command, start_new_session=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def revive(self) -> None:
        """Start the command again if it has ended.

        Raises:
        SrganError: it ended just after its start.
        """
        if self.process.poll() is None:
            return
        text = f"the {self.name} has ended (exit code {self.process.returncode})"
        if time.monotonic() - self.since < SHORT_LIFE:
            raise SrganError(f"{text} just after its start. See the messages above")
        print(f"{text}; starting it again", flush=True)
        self.__enter__()


def _prepare() -> bool:
    """Create the GPU limit and the work pool, and return True if the pool has a running worker."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectAlreadyExists

    from pipelines.infra import gpu_limit

    gpu_limit.create()
    with get_client(sync_client=True) as client:
        template = json.loads(JOBS.read_text(encoding="utf-8"))
        try:
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
        except ObjectAlreadyExists:
            client.update_work_pool(POOL, WorkPoolUpdate(base_job_template=template))
        answer = client.request("POST", "/work_pools/{name}/workers/filter", path_params={"name": POOL})
        return any(worker["status"] == "ONLINE" and _lives(worker["name"]) for worker in answer.json())


def _lives(worker: str) -> bool:
    """Return True if a worker runs. The server notices its end minutes later, so a local worker's process is checked."""
    machine, _, process = worker.rpartition("-")
    return machine != platform.node() or not process.isdecimal() or psutil.pid_exists(int(process))


def _look_for_killed() -> None:
    """Report runs that were killed together with their worker. They count as running and would block others."""
    from pipelines.infra import flow_run, workspace_lock

    workspace_lock.report_killed(Project.open(), flow_run.report_killed)


def _healthy(pages: str) -> bool:
    try:
        with urllib.request.urlopen(f"{pages}/api/health", timeout=5) as answer:
            return answer.read() == b"true"
    except urllib.error.HTTPError:
        raise SrganError(f"{pages} is in use by another program. Choose a port with PREFECT_SERVER_API_PORT") from None
    except OSError:
        return False


def _check_owner(port: int, pages: str) -> None:
    """Check that the server on the port is this user's and asks for the password. Another server could send commands to the worker.

    Raises:
        SrganError: it is another user's, or has no password or another one.
    """
    advice = "End it, or choose another port with PREFECT_SERVER_API_PORT"
    if not any(_listens(process, port) for process in psutil.process_iter()):
        raise SrganError(f"the server at {pages} belongs to another user. {advice}")
    if _status(pages) != 401:
        raise SrganError(f"the server at {pages} takes commands without a password. {advice}")
    if _status(pages, os.environ[password.PASSWORD]) != 200:
        raise SrganError(f"the server at {pages} has another password than the one in {password.file()}. {advice}")


def _listens(process: psutil.Process, port: int) -> bool:
    """Return True if the process belongs to this user and listens on the port."""
    with contextlib.suppress(psutil.Error):
        if process.uids().real == os.getuid():
            return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in process.net_connections("tcp"))
    return False


def _status(pages: str, given: str = "") -> int:
    headers = {"Authorization": f"Basic {b64encode(given.encode()).decode()}"} if given else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{pages}/api/admin/version", headers=headers), timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def _wait(server: Service, pages: str) -> None:
    end = time.monotonic() + START_SECONDS
    while not _healthy(pages):
        if server.process.poll() is not None or time.monotonic() > end:
            raise SrganError(f"the server at {pages} did not start. See the messages above")
        time.sleep(0.5)


def _deploy() -> None:
    """Create the deployments of ``prefect.yaml`` on the server."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deployed = re.findall(r"Deployment '([^']+)'", done.stdout)
    if done.returncode or not deployed:
        print(done.stdout, file=sys.stderr)
        raise SrganError("prefect.yaml could not be deployed. See the messages above")
    print(f"deployed: {', '.join(deployed)}", flush=True)


if __name__ == "__main__":
    main()
