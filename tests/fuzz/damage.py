"""What a project has written, damaged as disks do it, through the commands that read it again.

A digest of each is known: the command refuses it, uses the one before, or ends as if nothing had happened.
"""

import contextlib
import io
import logging
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from srgan.commands import main
from srgan.config.project import Project
from srgan.training.trainer import Trainer
from srgan.utils.errors import SrganError
from srgan.utils.files import sha256
from tests.fuzz import mutations
from tests.fuzz.cases import Case, Seeds, SilentlyAccepted, Target
from tests.helpers.project import make_project

STEPS, STOP = 6, 5  # the training was killed in this step
MODEL = "models/2x-demo-compact-fp32.onnx"
FILES = {  # name of the seed -> file of the project
    "checkpoint.pt": "checkpoints/pretrain/step-00000004.pt",
    "pixels.u8": "data/prepared/train/00000.u8",
    "model.onnx": MODEL,
}


class Damage(Target):
    """Checkpoints, the store of pixels, and exported models."""

    name = "damage"
    count = 100
    seconds = 60.0
    fresh = True  # a training leaves threads and settings behind

    def build(self, folder: Path) -> None:
        project = folder / "project"
        changes = {
            "data.train": ["photographs"],
            "data.test": [],
            "prepare.test": 0.2,
            "prepare.scale": 2,
            "pretrain.steps": STEPS,
            "runtime.pretrain.checkpoint_every": 2,
            "runtime.pretrain.validate_every": STEPS,  # the last weights are kept
            "model": {"name": "compact", "features": 8, "depth": 1},
        }
        make_project(project, changes)
        rng = np.random.default_rng(0)
        (project / "photographs").mkdir()
        for number in range(6):
            Image.fromarray(rng.integers(0, 255, (64, 80, 3)).astype(np.uint8)).save(project / "photographs" / f"{number}.png")
        os.chdir(project)
        os.environ["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"  # nobody listens
        for command in ("download", "prepare --processes 1", "pretrain"):
            _forked(lambda command=command: main.main(command.split()))
        shutil.copy(Project().pretrained, Project().generator)
        _forked(lambda: main.main(["export"]))
        shutil.copy(Project().pretrained, folder / "undisturbed")  # with the suffix it would be a seed
        (folder / "undisturbed").rename(project / "undisturbed")
        shutil.rmtree("checkpoints")
        Project().pretrained.unlink()
        _forked(_killed_training)
        for seed, file in FILES.items():
            shutil.copy(file, folder / seed)

    def mutate(self, rng: np.random.Generator, seeds: Seeds) -> Case:
        name = list(seeds)[rng.integers(len(seeds))]
        edit = (mutations.flip, mutations.flip, mutations.zero_sector, mutations.cut)[rng.integers(4)]
        if name == "pixels.u8" and edit is mutations.cut:
            edit = mutations.flip
        return Case(name, edit(rng, seeds[name]))

    def setup(self, shared: Path) -> None:
        self.project = shared / "project"
        os.environ["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"

    def check(self, case: Case, folder: Path) -> None:
        project = folder / "project"
        shutil.copytree(self.project, project, ignore=shutil.ignore_patterns(".git", "raw"))
        os.chdir(project)
        file = project / FILES[case.name]
        former, whole = file.stat(), file.read_bytes()
        file.write_bytes(case.content)
        os.utime(file, ns=(former.st_atime_ns, former.st_mtime_ns))  # DVC sees no change
        if case.name == "model.onnx":
            photograph = next((project / "photographs").iterdir())
            _command("upscale", str(photograph), "-o", "big.png")
            if case.content != whole:
                raise SilentlyAccepted(f"{MODEL} is not the file that reports/export.json knows")
            return
        _command("pretrain")
        if sha256(Project().pretrained) != sha256(self.project / "undisturbed"):
            raise SilentlyAccepted(f"{FILES[case.name]} was damaged, the training ended in other weights")


def _forked(function: Callable[[], object]) -> None:
    """Each command in a process of its own."""
    child = multiprocessing.get_context("fork").Process(target=function)
    child.start()
    child.join()
    assert child.exitcode == 0, child.exitcode


def _killed_training() -> None:
    whole = Trainer.step

    def step(self: Trainer, number: int) -> None:
        if number == STOP:
            os._exit(0)
        whole(self, number)

    Trainer.step = step  # type: ignore[method-assign]
    main.main(["pretrain"])


def _command(*arguments: str) -> None:
    """Run `srgan`; its error as an exception.

    Raises:
        SrganError: it ended with a message for people.
    """
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            main.main(list(arguments))
        except SystemExit as end:
            message = said.getvalue()
            assert "internal error" not in message, message
            if end.code:
                raise SrganError(message) from end
    logging.getLogger().handlers.clear()
