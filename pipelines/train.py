"""The training pipeline as a Prefect flow: ``python -m pipelines.train``.

Without a configured server Prefect starts a temporary one; with ``PREFECT_API_URL`` set, the run shows there.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

# Before prefect is imported: its temporary server takes more than the usual 20 s to start where cores are few and busy.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")  # it need not report home, nor complain where there is no network

from prefect import flow, get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from pipelines import stages

ROOT = Path(__file__).resolve().parent.parent


@task
def run_stage(stage: str, root: Path) -> State[Any]:
    """One DVC stage. Its state is `Cached` when there was nothing to do."""
    logger = get_run_logger()
    try:
        ran = stages.reproduce(stage, root, tell=logger.info)
    except stages.StageFailed as error:  # a state with a sentence, not a traceback of ours
        return Failed(message=str(error))
    return Completed(name="Completed" if ran else "Cached", message=f"{stage}: {'ran' if ran else 'up to date'}")


@flow(name="train", description="The DVC stages of the project, one task each.")
def train(root: Path = ROOT) -> State[Any]:
    """Bring every stage up to date, in the order of DVC's own graph."""
    states: dict[str, State[Any]] = {}
    for stage, before in stages.graph(root).items():
        run = run_stage.with_options(name=stage, task_run_name=stage)
        states[stage] = run(stage, root, return_state=True, wait_for=[states[name] for name in before])
        if not states[stage].is_completed():
            return Failed(message=f"{states[stage].message}; the stages before it are kept, run the flow again to go on")
    ran = [stage for stage, state in states.items() if state.name != "Cached"]
    return Completed(message=f"ran: {', '.join(ran) or 'nothing'}")


def main() -> None:
    """Run the flow here and now, on the project in the current folder."""
    root = Path.cwd()
    if not (root / "dvc.yaml").is_file():
        sys.exit(f"pipelines.train: error: {root}/dvc.yaml: no such file; run this in the project's folder")
    # Prefect ends the flow, then obeys SIGTERM as it finds it. By default that skips Python's clean-up, and with it the end of
    # the temporary server.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    state = train(root, return_state=True)
    sys.exit(0 if state.is_completed() else 1)


if __name__ == "__main__":
    main()
