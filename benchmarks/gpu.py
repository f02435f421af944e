"""Check and measure everything that needs a CUDA GPU: ``python benchmarks/gpu.py`` (nine minutes).

    python benchmarks/gpu.py waits speed            only these parts
    python benchmarks/gpu.py --data photographs     the real training uses the images of this folder
    python benchmarks/gpu.py --budget 300           seconds. Parts that no longer fit are left out and named
    python benchmarks/gpu.py --cpu                  small, without a GPU, to test the script

Each part runs in a process of its own, so a crash or a hang of one part leaves the others. Parts that measure no time run first and at the
same time. Every finding is a line ``PASS|FAIL|INFO part: text``. The folder of ``--out`` gets ``summary.txt``, ``findings.json`` and
``logs.tgz``. Parts:

    machine     versions and measured peaks of the device
    tests       tests that need a GPU, and the core's tests on this device
    crops       patches of the device against those of the host
    matrix      all networks, discriminators, precisions and adversarial losses
    reference   steps of the device against those of the CPU
    resume      a stopped and resumed training against an uninterrupted one
    validation  scores of the device against those of the CPU, memory of a large image
    memory      the error of a device without memory
    several     DDP and NCCL in a process group of one
    compile     ``compile: on`` against the plain networks
    onnx        exported files against the device
    graph_step  steps as CUDA graphs, also of compiled networks, against usual steps: results and speed
    waits       waits for the device and kernels of a step
    speed       images per second of the profiles against a plain loop
    real        a short training on photographs
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
PARTS = (
    *("machine", "tests", "crops", "matrix", "reference", "resume", "validation", "memory", "several", "compile", "onnx"),
    *("graph_step", "waits", "speed", "real"),
)
Task = tuple[str, str]  # a part and its argument
TOGETHER: list[Task] = [
    *(("tests", ""), ("graph_step", "check"), ("matrix", "bf16"), ("matrix", "fp32"), ("matrix", "fp16"), ("compile", "srresnet")),
    *(("onnx", ""), ("reference", ""), ("validation", ""), ("resume", ""), ("several", ""), ("crops", ""), ("memory", "")),
    *(("compile", "rrdb"), ("compile", "compact")),
]
# The most important first.
ALONE: list[Task] = [
    *(("graph_step", "speed"), ("speed", "compiled"), ("waits", "srgan"), ("speed", "srgan"), ("real", ""), ("waits", "compact")),
    *(("waits", "esrgan"), ("speed", "esrgan"), ("speed", "compact")),
]
NOT_ON_CPU = {
    ("matrix", "fp32"),
    ("matrix", "fp16"),
    ("compile", "rrdb"),
    ("compile", "srresnet"),
    ("speed", "esrgan"),
    ("speed", "compact"),
    ("waits", "compact"),
    ("waits", "esrgan"),
}
WORKERS = 9  # parts at the same time
CHECK_SHARE = 0.45  # largest share of the budget for the parts that run at the same time
LIMIT = 170.0  # seconds of one part
SHORTEST = 15.0  # seconds that must be left to start a part


class Run:
    """One run of the benchmark: its tasks, findings and files."""

    def __init__(self, out: Path, budget: float, data: str, cpu: bool) -> None:
        self.out, self.data, self.cpu = out, data, cpu
        self.begin = time.monotonic()
        self.budget = budget
        self.work = Path(tempfile.mkdtemp(prefix="srgan-gpu-"))
        self.files = self.work / "files"  # packed at the end
        self.files.mkdir()
        self.findings: list[dict[str, object]] = []
        out.mkdir(parents=True, exist_ok=True)

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.begin

    def all(self, parts: list[str]) -> int:
        """Run the parts and return the exit code."""

        def chosen(tasks: list[Task]) -> list[Task]:
            return [task for task in tasks if task[0] in parts]

        if "machine" in parts:
            self.task(("machine", ""), self.budget)
        share = self.budget if self.cpu else min(self.budget, self.elapsed() + CHECK_SHARE * self.budget)
        with ThreadPoolExecutor(1 if self.cpu else WORKERS) as pool:
            list(pool.map(lambda task: self.task(task, share), chosen(TOGETHER)))
        for task in chosen(ALONE):
            self.task(task, self.budget)
        return self.finish()

    def task(self, task: Task, until: float) -> None:
        """Run a task in its own process until a time of the run, and add its findings."""
        part, argument = task
        label = "-".join(filter(None, task))
        seconds = until - self.elapsed() if self.cpu else min(until - self.elapsed(), LIMIT)
        excuse = "too slow on a CPU" if self.cpu and task in NOT_ON_CPU else "no time was left" if seconds < SHORTEST else ""
        if excuse:
            self.add([{"kind": "INFO", "name": f"{part}, {argument or 'all'}", "text": f"left out, {excuse}"}])
            return
        found, log = self.files / f"{label}.jsonl", self.files / f"{label}.log"
        scratch = self.work / label
        scratch.mkdir()
        environment = os.environ | {"SRGAN_GPU_FINDINGS": str(found), "SRGAN_GPU_FILES": str(self.files), "TMPDIR": str(scratch)}
        environment |= {"PYTHONPATH": os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH", "")]))}
        environment |= {"PYTHONUNBUFFERED": "1", "SRGAN_GPU_SECONDS": str(seconds)}
        environment.setdefault("OMP_NUM_THREADS", "2")
        if part == "compile":  # other parts need cores, too
            environment.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "4")
        if self.cpu:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        command = [sys.executable, str(HERE / "gpu.py"), "--task", part, self.data if part == "real" else argument]
        begin = time.monotonic()
        with log.open("w") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
            try:
                ended = f"exit code {process.wait(seconds)}"
            except subprocess.TimeoutExpired:
                ended = f"stopped after {seconds:.0f} s"
            finally:
                _kill_group(process)
        lines = [json.loads(line) for line in found.read_text().splitlines()] if found.is_file() else []
        if ended != "exit code 0" or not lines:
            tail = " | ".join(log.read_text(errors="replace").splitlines()[-3:])
            lines.append({"kind": "FAIL", "name": f"{part}, {argument or 'all'}", "text": f"ended early ({ended}): {tail[:400]}"})
        self.add(lines)
        print(f"---- {label}: {time.monotonic() - begin:.0f} s, {self.elapsed():.0f} s in all", flush=True)
        shutil.rmtree(scratch, ignore_errors=True)

    def add(self, lines: list[dict[str, object]]) -> None:
        """Add findings and write the summary, which exists even if the run is killed later."""
        for line in lines:
            print("{kind} {name}: {text}".format(**line), flush=True)
        self.findings += lines
        (self.out / "findings.json").write_text(json.dumps(self.findings, indent=1))
        order = ("FAIL", "INFO", "PASS")
        text = ["{kind} {name}: {text}".format(**line) for kind in order for line in self.findings if line["kind"] == kind]
        (self.out / "summary.txt").write_text("\n".join(text) + "\n")

    def finish(self) -> int:
        """Pack the logs, print all findings again and return the exit code."""
        with tarfile.open(self.out / "logs.tgz", "w:gz") as archive:
            archive.add(self.files, "logs")
        shutil.rmtree(self.work, ignore_errors=True)
        print("\n==== summary ====\n" + (self.out / "summary.txt").read_text())
        counts = {kind: sum(line["kind"] == kind for line in self.findings) for kind in ("PASS", "FAIL", "INFO")}
        print(f"==== {counts['PASS']} passed, {counts['FAIL']} failed, {self.elapsed():.0f} s ====")
        return 1 if counts["FAIL"] else 0


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and everything that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_task(part: str, argument: str) -> int:
    """Run one task in this process."""
    sys.path.insert(0, str(HERE))
    from gpu_parts import checks, graphs, measure, trainings
    from gpu_parts.shared import attempt
    from srgan.utils.machine import keep_freed_memory

    keep_freed_memory()  # like `srgan train`
    with attempt(part):
        found = [vars(module)[part] for module in (checks, trainings, graphs, measure) if part in vars(module)]
        next(function for function in found if function.__module__.startswith("gpu_parts"))(argument)
    return 0


def main() -> int:
    """Run the parts that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="default: all")
    parser.add_argument("--data", default="", metavar="FOLDER", help="photographs of the real training. Default: those of scikit-image")
    parser.add_argument("--budget", type=float, default=540.0, metavar="SECONDS", help="for all parts (default: %(default).0f)")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--cpu", action="store_true", help="small, without a GPU, to test the script")
    parser.add_argument("--task", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.task:
        return run_task(*given.task)
    if unknown := [part for part in given.parts if part not in PARTS]:
        parser.error(f"unknown part {unknown[0]}. Parts: {', '.join(PARTS)}")
    return Run(given.out, given.budget, given.data, given.cpu).all(given.parts or list(PARTS))


if __name__ == "__main__":
    sys.exit(main())
