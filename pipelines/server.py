"""Everything that scheduled flows need, on this machine: ``make prefect``, or ``python -m pipelines.server``.

A Prefect server on 127.0.0.1, the limit for the GPU, a work pool, the deployments of ``prefect.yaml``, and a worker. What is up already
is left as it is, so the command can be given again: after an edit of ``prefect.yaml``, or beside a server of one's own.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

POOL = "srgan"
START_SECONDS = 180.0


def main() -> None:
    """Bring up what is not up; stay until Ctrl-C if anything was."""
    port = int(os.environ.get("PREFECT_SERVER_API_PORT", "4200"))
    pages = f"http://127.0.0.1:{port}"
    os.environ["PREFECT_API_URL"] = f"{pages}/api"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with contextlib.ExitStack() as stack:
            started = []
            if _healthy(pages):
                print(f"the server is up already: {pages}", flush=True)
            else:
                server = stack.enter_context(_running("server", "start", "--host", "127.0.0.1", "--port", str(port)))
                _wait(server, pages)
                started.append(server)
                print(f"the server is up: {pages}", flush=True)
            online = _prepare()
            _deploy()
            if online and not started:  # a server that has only just begun takes workers of before for present ones
                print("a worker is up already", flush=True)
            else:
                started.append(stack.enter_context(_running("worker", "start", "--pool", POOL, "--name", f"worker-{os.getpid()}")))
            if started:
                print(f"everything is up: open {pages}; end it with Ctrl-C. Start a run with:", flush=True)
                print(f"  PREFECT_API_URL={os.environ['PREFECT_API_URL']} prefect deployment run train/on-demand", flush=True)
            while started and all(process.poll() is None for process in started):
                time.sleep(0.5)
            if started:
                sys.exit("pipelines.server: error: the server or the worker has ended, see above; the same command starts it again")
    except KeyboardInterrupt:
        sys.exit(130)


def _prepare() -> bool:
    """The limit and the work pool. Returns whether a worker of it is at work."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    from pipelines import limits

    limits.create()
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(POOL)
        except ObjectNotFound:
            template = ProcessWorker.get_default_base_job_template()
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
        answer = client.request("POST", "/work_pools/{name}/workers/filter", path_params={"name": POOL})
        return any(worker["status"] == "ONLINE" for worker in answer.json())


def _healthy(pages: str) -> bool:
    try:
        with urllib.request.urlopen(f"{pages}/api/health", timeout=5) as answer:
            return answer.read() == b"true"
    except urllib.error.HTTPError:
        sys.exit(f"pipelines.server: error: {pages} is in use by another program; choose a port with PREFECT_SERVER_API_PORT")
    except OSError:
        return False


def _wait(server: subprocess.Popen[bytes], pages: str) -> None:
    end = time.monotonic() + START_SECONDS
    while not _healthy(pages):
        if server.poll() is not None or time.monotonic() > end:
            sys.exit(f"pipelines.server: error: the server at {pages} did not start, see above")
        time.sleep(0.5)


@contextlib.contextmanager
def _running(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A `prefect` command that lasts; after the block it is gone, and what it started too."""
    process = subprocess.Popen([sys.executable, "-m", "prefect", *arguments], start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _deploy() -> None:
    """Bring ``prefect.yaml`` to the server."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deployed = re.findall(r"Deployment '([^']+)'", done.stdout)
    if done.returncode or not deployed:
        sys.exit(f"{done.stdout}\npipelines.server: error: prefect.yaml could not be deployed, see above")
    print(f"deployed: {', '.join(deployed)}", flush=True)


if __name__ == "__main__":
    main()
