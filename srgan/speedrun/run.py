"""Run a track: data, training against the clock, scores, and a folder for the record."""

import logging
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import cv2
import numpy
import onnxruntime
import torch

import srgan
from srgan.config import profiles, render, schema
from srgan.config.project import Project
from srgan.config.schema import Params, identity
from srgan.data.download.catalog import local_path, mirror
from srgan.data.manifest import pairs
from srgan.distributed.device import pick_device, pick_precision
from srgan.evaluation.evaluate import Upscale, evaluate
from srgan.evaluation.examples import select_examples, write_examples
from srgan.evaluation.statistics import summarise
from srgan.export.onnx import export_onnx, file_name
from srgan.inference import benchmark
from srgan.inference.torch_upscale import upscale
from srgan.inference.upscaler import Upscaler
from srgan.metrics.registry import METRICS, open_metrics
from srgan.models.checkpoints import load_generator
from srgan.models.registry import NETWORKS, architecture_of, flops_per_megapixel, parameter_count, supports_half
from srgan.speedrun import board, clock, curve
from srgan.speedrun.data import digests, leaks
from srgan.speedrun.record import FILE, JOURNAL, Record, machine_problems, problems
from srgan.speedrun.tracks import TRACKS, Track
from srgan.stages import download as download_stage
from srgan.stages import prepare as prepare_stage
from srgan.stages import pretrain, train
from srgan.tasks import SUPER_RESOLUTION
from srgan.utils import git, machine
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_folder, one_at_a_time, read_json_or_none, write_json, write_text

CODE = Path(srgan.__file__).parents[1]  # the clone
CODE_FILES = "srgan", "pyproject.toml", "constraints.txt"  # what a result depends on, besides the parameters
WORKSPACES = "speedruns"  # folder of the projects in which the tracks run
INFERENCE_THREADS = 2
METRICS_SCORED = "psnr_y", "ssim_y", "lpips", "hatch"
EXAMPLES = 4  # images of the picture
STAGES = {"pretrain": pretrain.run, "train": train.run}

log = logging.getLogger(__name__)


def speedrun(
    track: Track,
    root: Path = Path(),
    params: Path | None = None,
    name: str = "",
    tracks: Mapping[str, Track] = TRACKS,
    code: Path = CODE,
) -> Path:
    """Run a track and enter the result as a record. A run that was killed continues.

    The run has a project of its own, ``speedruns/TRACK-NAME``. The record is ``benchmarks/records/DATE-TRACK-NAME``.

    Args:
        track: the track.
        root: the folder that holds ``speedruns`` and ``benchmarks``.
        params: parameters of the entry. Default: the profile of the track.
        name: of the entry. Default: that of the network.
        tracks: all tracks of the board.
        code: the git clone of the program.

    Returns:
        The folder of the record.

    Raises:
        SrganError: the result cannot be a record. What is known before the training is refused before it.
    """
    loaded = schema.load(params) if params else profiles.load(track.profile)
    name = name or loaded.model.name
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name):
        raise SrganError(f"--name {name}: use small letters, digits, hyphens and dots")
    _refuse(track, [*_parameter_problems(track, loaded), *_code_problems(code), *_machine_problems(track)])
    entered = sorted((root / "benchmarks" / board.RECORDS).glob(f"*-{track.name}-{name}/{FILE}"))
    if entered:
        raise SrganError(f"{entered[0].parent}: this entry is on the board already. Choose another name with --name")
    workspace = Project(root / WORKSPACES / f"{track.name}-{name}")
    workspace.root.mkdir(parents=True, exist_ok=True)
    try:
        with one_at_a_time(workspace.root / "lock", timeout=0), _log_file(workspace.root / "log.txt", root):
            _begin(workspace, track, loaded, git.commit(code))
            _train(workspace, track, loaded)
            result = _result(workspace, track, loaded, name, code)
            rows = clock.read_journal(workspace.root / JOURNAL)
            log.info("speedrun: %s", _summary(track, result))
            _refuse(track, problems(track, result, rows), f" The result is in {workspace.root}")
    except TimeoutError as error:
        raise SrganError(f"{workspace.root}: another process runs this speedrun. Wait for it or end it") from error
    folder = root / "benchmarks" / board.RECORDS / result.folder
    _write(folder, workspace, track, result, rows)
    log.info("speedrun: entered %s. Board: %s", folder, board.write_board(root / "benchmarks", tracks))
    return folder


def _refuse(track: Track, found: list[str], more: str = "") -> None:
    if found:
        raise SrganError(f"{track.name}: not a record: {'; '.join(found)}.{more}")


def _parameter_problems(track: Track, params: Params) -> list[str]:
    """Return what no entry of a track may set."""
    found = []
    for stage in track.stages:
        options = schema.flatten(identity(getattr(params, stage)))
        foreign = [key for key in options if key.rpartition(".")[2] in ("pretrained", "continue_from")]
        found += [f"{stage}.{key} is set, the track starts from random weights" for key in foreign]
        if (processes := getattr(params.runtime, stage).nproc_per_node) > 1:
            found.append(f"runtime.{stage}.nproc_per_node is {processes}, the track has one process")
    return found


def _code_problems(code: Path) -> list[str]:
    if not git.commit(code):
        return ["the code has no commit: run it from a git clone"]
    changes = git.changed_files(code, *CODE_FILES)
    return [f"files differ from the commit: {', '.join(changes[:5])}. Commit them first"] if changes else []


def _machine_problems(track: Track) -> list[str]:
    return machine_problems(track, pick_device().type, machine.cores(), torch.get_num_threads())


def _begin(workspace: Project, track: Track, params: Params, commit: str) -> None:
    """Write the identity of a new run, or compare it with that of the run that is continued."""
    text = render.render(params, f"Entry of the speedrun {track.name}.")
    about = {"track": track.name, "commit": commit}
    if workspace.params.is_file():
        known = read_json_or_none(workspace.root / "run.json")
        if workspace.params.read_text(encoding="utf-8") != text or known != about:
            raise SrganError(
                f"{workspace.root}: holds a run of other parameters or of another commit. Choose another --name, or remove the folder"
            )
        log.info("speedrun: continues the run in %s", workspace.root)
        return
    write_json(workspace.root / "run.json", about)
    write_text(workspace.params, text)


def _train(workspace: Project, track: Track, params: Params) -> None:
    """Prepare the data, which no clock counts, and run the training stages that are not complete."""
    if not (workspace.prepared / "manifest.json").is_file():
        download_stage.run(workspace, params)
        prepare_stage.run(workspace, params)
    found = asdict(digests(workspace.prepared))
    wrong = [part for part, expected in asdict(track.data).items() if found[part] != expected]
    if wrong:
        _refuse(
            track,
            [
                f"the {' and '.join(wrong)} data are not those of the track: `data` and `prepare` have to be those of the profile "
                f"{track.profile}, with unchanged images. Found {found}"
            ],
        )
    journal = clock.Clock(workspace.root / JOURNAL, track.seconds)
    for stage in track.stages:
        checkpoints = workspace.checkpoints / stage
        if (checkpoints / "final.pt").is_file():
            log.info("speedrun: %s is complete", stage)
            continue
        used = clock.seconds(clock.read_journal(journal.path))
        log.info("speedrun: %s begins, %s of %s used", stage, clock.minutes(used), clock.minutes(track.seconds))
        with journal.running(stage, checkpoints, workspace.losses[stage]):
            STAGES[stage](workspace, params, tracked=False)


def _result(workspace: Project, track: Track, params: Params, name: str, code: Path) -> Record:
    """Score the models and return the record."""
    weights = {"pretrained": workspace.pretrained, "gan": workspace.generator}
    generators = {
        model: load_generator(weights[model], made_by=stage)[0].eval()
        for stage, model in (("pretrain", "pretrained"), ("train", "gan"))
        if stage in track.stages
    }
    final, device = generators[track.model], pick_device()
    arch, size = architecture_of(final)
    path = workspace.models / file_name(final.scale, params.export.name, arch)
    exported = export_onnx(path, final, {"sr.name": params.export.name, "sr.license": params.export.license}, params.export.optimize_graph)
    models: dict[str, Upscale] = {"bicubic": partial(SUPER_RESOLUTION.baseline_image, scale=final.scale)}
    models |= {model: partial(upscale, generator.to(device)) for model, generator in generators.items()}
    models[track.model] = Upscaler(path, "cpu", threads=1).upscale  # the file that users get
    advice = "the record has no value of it. Set SRGAN_MIRROR, or connect to the internet, and run the same command again"
    scorers = open_metrics([METRICS[metric] for metric in METRICS_SCORED], advice, device)
    test = pairs(workspace.prepared, "test")
    table = evaluate(test, models, final.scale, scorers, device)
    chosen = select_examples(table, track.model, EXAMPLES)
    examples = [pair for pair in test if (pair.set, pair.name) in chosen]
    write_examples(workspace.pictures, workspace.comparison, examples, models, table, device)
    scores: dict[str, dict[str, dict[str, float]]] = {model: {} for model in models}
    for set_name, of_set in summarise(table).items():
        for model, values in of_set.items():
            scores[model][set_name] = {key: value for key, value in values.items() if value is not None}
    for model, hatch in table.groupby("model")["hatch"].mean().items():
        scores[str(model)]["all"] = {"hatch": round(float(hatch), 4)}
    rows = clock.read_journal(workspace.root / JOURNAL)
    speed = benchmark.measure(path, "cpu", INFERENCE_THREADS)
    precision = pick_precision(getattr(params, track.stages[0]).precision, device, supports_half(final))
    with torch.device("meta"):
        outline = NETWORKS[arch].factory(**size).eval()
    return Record(
        track=track.name,
        name=name,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        commit=git.commit(code),
        changes=git.changed_files(code, *CODE_FILES),
        data=asdict(digests(workspace.prepared)),
        leaks=leaks(workspace.prepared),
        seconds={stage: round(clock.seconds(rows, stage), 3) for stage in track.stages},
        attempts=len(clock.attempts(rows)),
        others=round(float(numpy.mean([row.others for row in rows if row.event != "start"] or [0.0])), 2),
        machine={
            "device": device.type,
            "cpu": machine.cpu_name(),
            "gpu": torch.cuda.get_device_name() if device.type == "cuda" else "",
            "cores": max((row.cores for row in rows), default=0),
            "threads": max((row.threads for row in rows), default=0),
            "precision": str(precision).removeprefix("torch."),
        },
        versions={
            "srgan": srgan.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "opencv": cv2.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        network=f"{arch} {' '.join(f'{key}={value}' for key, value in size.items())}",
        weights=parameter_count(final),
        flops=flops_per_megapixel(outline),
        onnx={
            "seconds_per_megapixel": round(speed["seconds_per_megapixel"], 4),
            "threads": INFERENCE_THREADS,
            "sha256": exported["sha256"],
        },
        scores=scores,
    )


def _write(folder: Path, workspace: Project, track: Track, result: Record, rows: list[clock.Row]) -> None:
    """Write the folder of a record: parameters, log, clock, curve, picture and the result."""
    with atomic_folder(folder) as new:
        for name in ("params.yaml", "log.txt", JOURNAL):
            shutil.copyfile(workspace.root / name, new / name)
        shutil.copyfile(workspace.comparison, new / "picture.png")
        curve.write(new, {stage: workspace.losses[stage] for stage in track.stages}, rows)
        write_json(new / FILE, asdict(result))


def _summary(track: Track, result: Record) -> str:
    values = [(score, result.value(score)) for score in track.columns]
    shown = [
        f"{score.set} {METRICS[score.metric].label} {METRICS[score.metric].text(value)}" for score, value in values if value is not None
    ]
    return f"{', '.join(shown)} after {clock.minutes(sum(result.seconds.values()))}"


@contextmanager
def _log_file(path: Path, root: Path) -> Iterator[None]:
    """Write the log lines of the block into a file too, without folders of this machine: a record is published."""
    address = mirror()
    places = {
        "SRGAN_MIRROR": [address, str(local_path(address) or "") if address else ""],
        "PROJECT": [str(root.resolve())],
        "HOME": [str(Path.home())],
    }
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setLevel(logging.INFO)
    handler.setFormatter(_Portable({place: f"${name}" for name, found in places.items() for place in found if len(place) > 1}))
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(min(level, logging.INFO))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()


class _Portable(logging.Formatter):
    """Replace folders in log lines. `places` has the text for each folder."""

    def __init__(self, places: dict[str, str]) -> None:
        super().__init__("%(asctime)s %(message)s")
        self._places = places

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for place, name in self._places.items():
            text = text.replace(place, name)
        return text
