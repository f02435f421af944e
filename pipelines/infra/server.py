"""Everything that scheduled flows need, on this machine: ``make prefect``, or ``python -m pipelines.infra.server``.

A Prefect server on 127.0.0.1, the limit for the GPU, a work pool, the deployments of ``prefect.yaml``, and a worker. What is up already
is left as it is, so the command can be given again, for example after an edit of ``prefect.yaml``.

Prefect's API runs commands as the user of the worker. The server therefore asks for a password (`pipelines.infra.password`), pages of other
origins cannot read its answers, and the jobs of the work pool have no variables: no caller chooses a command, a folder or an environment.
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
START_SECONDS = 180.0  # for the server, where cores are few and busy
STOP_SECONDS = 90.0  # for what a worker runs: a stage may take 30 to write its checkpoint
AT_ONCE = 4  # runs of the worker, of which one has the GPU
SHORT_LIFE = 20.0  # seconds; what ends sooner would do so again
JOBS = Path(__file__).with_name("pool.json")  # the work pool's job template: no variables


def main() -> None:
    """Bring up what is not up; stay until Ctrl-C if anything was. With the argument `password`: print that and end."""
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
    # Who has the GPU: on disk, not in the server's memory. A server that forgets it in a crash never gives the GPU back.
    os.environ.setdefault("PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE", "prefect.server.concurrency.lease_storage.filesystem")
    os.environ.update(password.settings(password.keep(f"{pages}/api"), pages))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    from pipelines.infra.command import command  # imports Prefect, which reads its settings then

    with command("infra.server"), contextlib.ExitStack() as stack, contextlib.suppress(KeyboardInterrupt):
        started = []
        if _healthy(pages):
            _check_owner(int(port), pages)
            print(f"the server is up already: {pages}", flush=True)
        else:
            server = stack.enter_context(Service("server", "server", "start", "--host", "127.0.0.1", "--port", port))
            _wait(server, pages)
            started.append(server)
            print(f"the server is up: {pages}", flush=True)
        online = _prepare()
        _look_for_killed()
        _deploy()
        if online and not started:  # a server that has only just begun takes workers of before for present ones
            print("a worker is up already", flush=True)
        else:
            name = f"{platform.node()}-{os.getpid()}"
            worker = Service("worker", "worker", "start", "--pool", POOL, "--name", name, "--limit", str(AT_ONCE))
            started.append(stack.enter_context(worker))
        if started:
            print(f"everything is up, until Ctrl-C: {pages} asks for a password, which this prints:", flush=True)
            print("  python -m pipelines.infra.server password\nStart a run with:", flush=True)
            print(f"  prefect --profile {password.PROFILE} deployment run train/on-demand", flush=True)
        while started:
            for service in started:
                service.revive()
            time.sleep(0.5)


class Service:
    """A `prefect` command that lasts: started again if it ends; after the block it is gone, with all that it started."""

    def __init__(self, name: str, *arguments: str) -> None:
        self.name, self.arguments = name, arguments

    def __enter__(self) -> "Service":
        self.since = time.monotonic()
        # Out of the way of a terminal's Ctrl-C: the worker is to end before the server, so that its runs can say how they ended.
        command = process_guard.command(STOP_SECONDS, sys.executable, "-m", "prefect", *self.arguments)
        self.process = subprocess.Popen(command, start_new_session=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def revive(self) -> None:
        """Start it again if it has ended, unless it has only just begun."""
        if self.process.poll() is None:
            return
        text = f"the {self.name} has ended (exit code {self.process.returncode})"
        if time.monotonic() - self.since < SHORT_LIFE:
            raise SrganError(f"{text}, just after its start. See above")
        print(f"{text}; starting it again", flush=True)
        self.__enter__()


def _prepare() -> bool:
    """The limit and the work pool. Returns whether a worker of it is at work."""
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
    """Return True if a worker runs. The server notices its end minutes later, so the process in the name of a local one is checked."""
    machine, _, process = worker.rpartition("-")
    return machine != platform.node() or not process.isdecimal() or psutil.pid_exists(int(process))


def _look_for_killed() -> None:
    """A run that was killed together with its worker still counts as running, and would keep others away."""
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
    """Make sure that the server on the port is this user's and asks for the password: another one could send commands to the worker.

    Raises:
        SrganError: it is not, or does not.
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
            raise SrganError(f"the server at {pages} did not start, see above")
        time.sleep(0.5)


def _deploy() -> None:
    """Bring ``prefect.yaml`` to the server."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deployed = re.findall(r"Deployment '([^']+)'", done.stdout)
    if done.returncode or not deployed:
        print(done.stdout, file=sys.stderr)
        raise SrganError("prefect.yaml could not be deployed, see above")
    print(f"deployed: {', '.join(deployed)}", flush=True)


if __name__ == "__main__":
    main()
