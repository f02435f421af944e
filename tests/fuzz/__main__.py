"""Run the fuzz tests: `python -m tests.fuzz`, or `make fuzz`.

Prints a table of outcomes; exits with 1 if a case failed. The input of each failed case is saved, to be run again with ``--replay``.

A case may be accepted or refused with a message for people. It fails as: internal (an exception that is no `SrganError`), crash (a signal),
hang (too much processor time), escape (something written outside of its folder), leftover (a temporary file), memory (more than 1 GB), or
silent (altered bytes were used although a digest of the right ones is known).
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

from tests.fuzz import archives, damage, driver, onnx_models, parameters, pictures, weights
from tests.fuzz.cases import FAILURES, OUTCOMES, Case, Target

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        pictures.Pictures(),
        archives.Archives(),
        weights.Weights(),
        onnx_models.OnnxModels(),
        parameters.Parameters(),
        damage.Damage(),
    )
}


def main() -> int:
    """Return the exit code."""
    options = _options()
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "PREFECT_", "SRGAN_", "DVC_")):
            del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        if options.replay:
            return _replay(options.replay, Path(folder))
        return _run(options, Path(folder))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--share", type=float, default=1.0, help="of a full run's cases, such as 0.1 (default: %(default)s)")
    parser.add_argument("--cases", type=int, help="mutated cases for each target, instead of a share")
    parser.add_argument("--no-fixed", action="store_true", help="leave out the inputs that were made by hand")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="cases at once (default: the number of cores)")
    parser.add_argument("--save", type=Path, default=Path("fuzz-failures"), help="folder for the inputs of failed cases")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run a saved input again and print the traceback")
    options = parser.parse_args()
    for name in options.targets:
        if name not in TARGETS:
            parser.error(f"unknown target '{name}'; there are {', '.join(TARGETS)}")
    return options


def _run(options: argparse.Namespace, folder: Path) -> int:
    table: dict[str, Counter[str]] = {}
    seconds: dict[str, float] = {}
    failed: Counter[str] = Counter()
    for name in options.targets or TARGETS:
        target, begun = TARGETS[name], time.monotonic()
        shared = folder / "seeds" / name
        driver.build(target, shared)
        seeds = driver.seeds_of(target, shared)
        wanted = options.cases if options.cases is not None else round(target.count * options.share)
        fixed = len(target.fixed())
        numbers = range(fixed if options.no_fixed else 0, fixed + wanted)
        table[name] = Counter()
        for number, verdict in driver.run_all(target, shared, seeds, options.seed, numbers, options.jobs, folder):
            table[name][verdict.outcome] += 1
            if verdict.outcome in FAILURES:
                case = driver.case_of(target, options.seed, number, seeds)
                options.save.mkdir(parents=True, exist_ok=True)
                path = options.save / f"{name}.{options.seed}-{number}.{verdict.outcome}.{case.name}"
                path.write_bytes(case.content)
                reason = (verdict.detail.strip().splitlines() or [""])[-1 if verdict.outcome == "internal" else 0][:200]
                failed[f"{verdict.outcome}: {reason}"] += 1
                if failed[f"{verdict.outcome}: {reason}"] <= 3:
                    print(f"{path}: {reason}", flush=True)
        seconds[name] = time.monotonic() - begun
    print(f"\nseed {options.seed}")
    print("".join(f"{title:>10}" for title in ("target", "cases", *OUTCOMES, "seconds")))
    for name, counts in table.items():
        figures = (counts.total(), *(counts[outcome] for outcome in OUTCOMES), round(seconds[name]))
        print(f"{name:>10}" + "".join(f"{figure:>10}" for figure in figures))
    if failed:
        print(
            f"\n{failed.total()} cases failed; their inputs are in {options.save}/, run one again with: python -m tests.fuzz --replay FILE"
        )
        for reason, count in failed.most_common():
            print(f"{count:6} {reason}")
    return 1 if failed else 0


def _replay(path: Path, folder: Path) -> int:
    """A saved input's name holds its target and the name of its seed."""
    content = path.read_bytes()
    name, _, _, seed_name = path.name.split(".", 3)
    target = TARGETS[name]
    target.fixed = dict  # type: ignore[method-assign]
    target.mutate = lambda rng, seeds: Case(seed_name, content)  # type: ignore[method-assign]
    shared = folder / "seeds"
    driver.build(target, shared)
    for _, verdict in driver.run_all(target, shared, driver.seeds_of(target, shared), 0, range(1), 1, folder):
        print(f"{path}: {verdict.outcome}\n{verdict.detail}")
        return int(verdict.outcome in FAILURES)
    return 1


if __name__ == "__main__":
    sys.exit(main())
