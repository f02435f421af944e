"""One function a DVC stage: read the parameters, call the library, write the outs, tell the tracker."""

import logging
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from srgan import __version__
from srgan.config import profiles
from srgan.config.schema import Params, flatten, identity, options_of, to_dict
from srgan.config.training import Pretrain, StageRuntime, Train
from srgan.distributed import launch
from srgan.models.weights_file import read_metadata
from srgan.training import lineage
from srgan.utils import git, machine
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_file, atomic_folder, digest, plain_name, read_json, read_state, require, sha256, write_json, write_text

RAW, PREPARED = Path("data/raw"), Path("data/prepared")
MODELS, REPORTS, CHECKPOINTS = Path("models"), Path("reports"), Path("checkpoints")
REDUCED = MODELS / "reduced"
PRETRAINED, GENERATOR = MODELS / "pretrained.safetensors", MODELS / "generator.safetensors"
LOSSES = {"pretrain": REPORTS / "pretrain.csv", "train": REPORTS / "train.csv"}
METRICS, TABLE, STATISTICS, GAN = REPORTS / "metrics.json", REPORTS / "metrics.csv", REPORTS / "statistics.json", REPORTS / "gan.csv"
PICTURES, COMPARISON, REPORT, SPEED = REPORTS / "pictures", REPORTS / "comparison.png", REPORTS / "report.html", REPORTS / "speed.json"
CARD, EXPORT, REGISTRATION = REPORTS / "data.html", REPORTS / "export.json", REPORTS / "registration.json"
MODEL_CARD = REPORTS / "MODEL_CARD.md"

CALIBRATION = 16  # crops that int8 learns its ranges from

log = logging.getLogger(__name__)


def _unasked(advice: str = "") -> None:
    """For who calls a stage from Python: no file of parameters, no edits of it."""


def download(params: Params) -> None:
    """Fetch the chosen data sets, verified, into ``data/raw/``.

    Layout: ``{train,test}/SET/FILE``, and ``manifest.json``: `images`, a record per image, and `left_out`, what the sets hold beside them.
    """
    from srgan.data.choice import choose
    from srgan.data.download import datasets
    from srgan.data.download.checksums import Checksums
    from srgan.data.left_out import LeftOut, described
    from srgan.data.walk import OTHER_SPLIT

    images, rows, checksums = [], [], Checksums()
    content: dict[str, dict[str, set[str]]] = {"train": {}, "test": {}}
    chosen = {"train": choose(params.data.train, "train"), "test": choose(params.data.test, "test")}
    twice = {entry.name for entry in chosen["train"]} & {entry.name for entry in chosen["test"]}
    with atomic_folder(RAW) as folder:
        for split, entries in chosen.items():
            for entry in entries:
                left_out = LeftOut()
                records = datasets.fetch_data_set(entry, split, folder / split / entry.name, checksums, left_out)
                if entry.name in twice:
                    left_out.counts.pop(OTHER_SPLIT, None)  # used there
                rows += left_out.rows(entry.name, split)
                about = {"set": entry.name, "split": split}
                images += [_placed(record, f"{split}/{entry.name}") | about for record in records]
                content[split][entry.name] = {record["sha256"] for record in records}
        for row in rows:
            log.info("left out %s", described(row))
        for name in content["train"]:
            if content["train"][name] == content["test"].get(name):
                raise SrganError(
                    f"params.yaml: data: {name} is in train and test, and has no folders train and test that would tell its images apart; "
                    "name it under train alone and hold a share of it out with prepare.test"
                )
        write_json(folder / "manifest.json", {"images": images, "left_out": rows})
    checksums.save()


def _placed(record: dict[str, Any], place: str) -> dict[str, Any]:
    """A record of `fetch_data_set` with its files below ``data/raw``, as `path`."""
    placed = {key: value for key, value in record.items() if key != "file"} | {"path": f"{place}/{record['file']}"}
    return placed | ({"lr": [_placed(lr_image, place) for lr_image in record["lr"]]} if "lr" in record else {})


def prepare(params: Params, processes: int | None = None) -> None:
    """Split the images, make their LR versions and pack the pixels, in ``data/prepared/``.

    The data card, a page of what there is and what was left out, is ``reports/data.html``.

    Args:
        params: the whole configuration.
        processes: that work at once; default: `srgan.utils.machine.processes`. The result does not depend on it.
    """
    from srgan.data.prepare import NotPrepared
    from srgan.data.prepare import prepare as make
    from srgan.evaluation.data_card import write_data_card

    try:
        manifest = make(RAW, PREPARED, params.prepare, processes or machine.processes())
    except NotPrepared as error:
        write_data_card(CARD, {"images": []} | error.left_out, PREPARED, RAW)
        raise SrganError(f"{error}; all of them: {CARD}") from error
    for part in ("train", "validation", "test"):
        names = [image["name"] for image in manifest["images"] if image["part"] == part]
        log.info("%s: %d images%s", part, len(names), f" ({', '.join(names)})" if len(names) <= 12 else "")
    write_data_card(CARD, manifest, PREPARED, RAW)
    log.info("Look at %s", CARD)


def pretrain(params: Params, unedited: Callable[..., None] = _unasked) -> None:
    """Train the generator on pixels: ``models/pretrained.safetensors``.

    Args:
        params: the whole configuration.
        unedited: `srgan.config.recorded.refuse_edits`, ready to be called before the stage ends well.
    """
    import torch

    from srgan.data.manifest import read_manifest
    from srgan.models.checkpoints import load_pretrained
    from srgan.models.registry import build_generator

    scale = read_manifest(PREPARED)["scale"]
    options = params.pretrain
    torch.manual_seed(options.seed)
    generator = build_generator(params.model.name, scale=scale, **options_of(params.model))
    if options.pretrained != "scratch":
        load_pretrained(options.pretrained, generator)
        log.info("pretrain: starts from %s", options.pretrained)
    training = current_training(params, "pretrain")
    metadata = {"sr.objective": "psnr", "sr.train_run": _pretraining(training)}
    _fit(
        training,
        options,
        params.runtime.pretrain,
        generator,
        None,
        None,
        PRETRAINED,
        metadata,
        _about(params, "pretrain", training),
        [],
        unedited,
    )


def go_on(params: Params, path: Path, stage: str, state: str) -> str:
    """Let the parameter file name the state that a stage goes on from, see `srgan.training.continuation.write`. Returns what to say."""
    from srgan.training import continuation

    return continuation.write(path, CHECKPOINTS / stage, _about(params, stage, current_training(params, stage)), state)


def _about(params: Params, stage: str, training: Any) -> dict[str, Any]:
    """What identifies a run of a training stage, for runs that go on from its states."""
    from srgan.data.manifest import images_of
    from srgan.data.packed_store import Store

    options = flatten({"model": to_dict(params.model), **to_dict(getattr(params, stage))})
    options.pop("continue_from", None)
    if stage == "train":
        start = sha256(require(PRETRAINED, "pretrain"))
    else:
        start = "" if params.pretrain.pretrained == "scratch" else sha256(params.pretrain.pretrained)
    validated = [[image["set"], image["name"], image["source_sha256"], image["lr_sha256"]] for image in images_of(PREPARED, "validation")]
    return {"options": options, "inputs": [Store(PREPARED).sha256, validated, start], "training": training.key, "lineage": []}


def _pretraining(training: Any) -> str:
    """The key of a training's first stage, which knows nothing of the second."""
    return replace(training, identity={name: options for name, options in training.identity.items() if name != "train"}).key


def train(params: Params, unedited: Callable[..., None] = _unasked) -> None:
    """Train the GAN (generator and discriminator): ``models/generator.safetensors``.

    Args:
        params: the whole configuration.
        unedited: as for `pretrain`.
    """
    import torch

    from srgan.losses.perceptual import open_perceptual
    from srgan.models.checkpoints import load_generator
    from srgan.models.registry import build_discriminator

    options = params.train
    generator, known = load_generator(PRETRAINED, made_by="pretrain")
    training = current_training(params, "train")
    if known.get("sr.train_run") != _pretraining(training):  # else this run's key would name parameters that its first stage never saw
        raise SrganError(f"{PRETRAINED}: trained with other parameters or data than params.yaml now names; run: dvc repro train")
    torch.manual_seed(options.seed)
    config = options_of(options.discriminator)
    config.pop("learning_rate")
    discriminator = build_discriminator(options.discriminator.name, **config)
    perceptual = open_perceptual(options.losses.perceptual)
    metadata = {"sr.objective": "gan", "sr.train_run": training.key}
    _fit(
        training,
        options,
        params.runtime.train,
        generator,
        discriminator,
        perceptual,
        GENERATOR,
        metadata,
        _about(params, "train", training),
        lineage.read(known),
        unedited,
    )


def _fit(
    training: Any,
    options: Pretrain | Train,
    runtime: StageRuntime,
    generator: Any,
    discriminator: Any,
    perceptual: Any,
    out: Path,
    metadata: dict[str, str],
    about: dict[str, Any],  # see `srgan.training.checkpoint.Checkpoints`
    earlier: list[dict[str, Any]],  # lineage of the weights that the stage starts from
    unedited: Callable[..., None],
) -> None:
    import torch

    from srgan.data.manifest import pairs
    from srgan.data.packed_store import Store, Verification
    from srgan.data.sampler import PatchSampler
    from srgan.distributed import process_group
    from srgan.distributed.device import pick_device
    from srgan.metrics.registry import METRICS, open_metrics, select_metrics
    from srgan.models.checkpoints import save_generator
    from srgan.models.registry import architecture_of, parameter_count
    from srgan.tracking import mlflow_run
    from srgan.training import continuation
    from srgan.training.checkpoint import Checkpoints, SharedCheckpoints
    from srgan.training.logger import SilentLog, TrainingLog
    from srgan.training.trainer import Trainer

    launch.end_with_starter()
    with process_group.joined(), ExitStack() as locked:
        stage = "train" if isinstance(options, Train) else "pretrain"
        out.parent.mkdir(parents=True, exist_ok=True)
        store = Store(PREPARED)
        crops = PatchSampler(store, options.batch_size, options.patch_size, options.seed, process_group.rank(), process_group.size())
        otherwise = "the best weights are chosen by the validation loss" if stage == "train" else "the validation goes without"
        scorers = open_metrics(select_metrics(["alex"] if options.lpips else [], validation=True), otherwise, pick_device())
        found = process_group.gathered([set(scorers)])
        for name in [name for name in scorers if not all(name in names for names in found)]:
            log.warning("%s is unavailable on other machines; %s", METRICS[name].label, otherwise)
            del scorers[name]
        trainer = Trainer(options, runtime, generator, discriminator, crops, pairs(PREPARED, "validation"), perceptual, scorers)
        log.info(
            "%s: %s parameters on %s, %s, %d training images%s",
            stage,
            f"{parameter_count(generator):,}",
            trainer.device,
            str(trainer.dtype).removeprefix("torch."),
            len(crops.eligible_images),
            f", {process_group.size()} processes" if process_group.size() > 1 else "",
        )
        # What a checkpoint must share with a run that resumes it.
        machine = [__version__, torch.__version__, trainer.device.type, str(trainer.dtype), "lpips" in scorers]
        signature = digest([identity(options), architecture_of(generator), about["inputs"], machine])
        folder = training.folders[stage]
        if process_group.rank():
            trainer.fit(SilentLog(), SharedCheckpoints(None))
            return
        check = partial(continuation.check, about=about, stage=stage)
        checkpoints = locked.enter_context(
            Checkpoints(
                folder,
                signature,
                runtime.checkpoint_every,
                about,
                options.continue_from,
                check,
                git.working_copy() / CHECKPOINTS / stage,
            )
        )
        with mlflow_run.live(training, stage):
            told = TrainingLog(LOSSES[stage], options.steps, stage, folder / "pictures")
            trained = trainer.fit(told, SharedCheckpoints(checkpoints), Verification(store).check)
            metadata |= lineage.metadata([*earlier, *checkpoints.about["lineage"]]) | {"sr.train_data_sha256": training.data_sha256}
            save_generator(out, trained, metadata)
        unedited("; the checkpoint is kept: with the old values that takes seconds")
        checkpoints.finish()  # last of all: who is killed before that need not train again


def export(params: Params) -> None:
    """Write the generator as ONNX, checked against PyTorch: ``models/*.onnx``, in lower precisions ``models/reduced/``.

    The contract is in docs/onnx.md; sizes, digests and differences go to ``reports/export.json``.
    """
    from srgan.data.manifest import pairs
    from srgan.data.packed_store import Store
    from srgan.data.sampler import PatchSampler
    from srgan.export import quantize as precision
    from srgan.export.onnx import export_onnx, file_name
    from srgan.models.checkpoints import load_generator
    from srgan.models.registry import architecture_of

    options = params.export
    generator, metadata = load_generator(GENERATOR, made_by="train")
    arch, _ = architecture_of(generator)
    path = MODELS / file_name(generator.scale, options.name, arch)
    described = {"sr.name": options.name, "sr.license": options.license, "sr.weights_sha256": sha256(GENERATOR)}
    EXPORT.unlink(missing_ok=True)  # its digests are those of the former files
    result = export_onnx(path, generator, metadata | described, options.optimize_graph)
    log.info("%s: %.0f kB, at most %.1e from torch", path, result["bytes"] / 1000, max(result["max_difference"].values()))
    with atomic_folder(REDUCED) as folder:
        reduced, validation = {}, pairs(PREPARED, "validation")
        if options.fp16:
            reduced["fp16"] = precision.write_fp16(folder / file_name(generator.scale, options.name, arch, "fp16"), path, validation)
        if options.int8:
            store = Store(PREPARED)
            store.verify()
            _, crops = PatchSampler(store, CALIBRATION, params.train.patch_size, seed=0)(0)
            out = folder / file_name(generator.scale, options.name, arch, "int8")
            reduced["int8"] = precision.write_int8(out, path, validation, crops[:, :32, :32], options.int8_max_drop_db)
    write_json(EXPORT, result | {"reduced": reduced})


def evaluate(params: Params) -> None:
    """Score bicubic, both generators, the champion and the exported files on the test images, in ``reports/``."""
    from srgan.data.manifest import pairs, read_manifest
    from srgan.degradations.bicubic import bicubic_upscale
    from srgan.distributed.device import pick_device
    from srgan.evaluation.evaluate import Upscale
    from srgan.evaluation.evaluate import evaluate as evaluate_models
    from srgan.evaluation.examples import select_examples, write_examples
    from srgan.evaluation.statistics import model_statistics, summarise, text_table
    from srgan.inference.torch_upscale import enlarge
    from srgan.inference.upscaler import Upscaler
    from srgan.metrics.registry import open_metrics, select_metrics
    from srgan.models.checkpoints import load_generator
    from srgan.tracking import mlflow_run

    scale = read_manifest(PREPARED)["scale"]
    training = current_training(params)
    device = pick_device()
    pretrained, _ = load_generator(PRETRAINED, made_by="pretrain")
    gan, _ = load_generator(GENERATOR, made_by="train")
    shown: dict[str, Upscale] = {
        "bicubic": partial(bicubic_upscale, scale=scale),
        "pretrained": partial(enlarge, pretrained.to(device)),
        "gan": partial(enlarge, gan.to(device)),
    }
    with tempfile.TemporaryDirectory() as folder:
        champion = _champion(params, scale, Path(folder))
        if champion:
            shown["champion"] = champion.upscale
        exported = {f"onnx-{precision}": Upscaler(path, threads=1).upscale for precision, path in _exported(params, scale).items()}
        advice = "then evaluate again with: dvc repro -sf evaluate; dvc repro"
        scorers = open_metrics(select_metrics(params.evaluate.lpips), advice, device)
        test = pairs(PREPARED, "test")
        table = evaluate_models(test, shown | exported, scale, scorers, device)
        chosen = select_examples(table, "gan")
        write_examples(PICTURES, COMPARISON, [pair for pair in test if (pair.set, pair.name) in chosen], shown, table, device)
    for path, rows in ((TABLE, table), (GAN, table[table["model"] == "gan"])):
        with atomic_file(path) as temporary:
            rows.round(4).to_csv(temporary, index=False)
    write_json(STATISTICS, model_statistics(table))
    summary = summarise(table)
    write_json(METRICS, summary)
    log.info("\n%s", text_table(summary))
    mlflow_run.try_sync(training, "FINISHED")


def report(params: Params) -> None:
    """Write the page of scores and pictures, ``reports/report.html``, and measure what the exported files cost."""
    from srgan.data.manifest import read_manifest
    from srgan.evaluation.history import read_history
    from srgan.evaluation.report import write_report
    from srgan.inference import benchmark
    from srgan.tracking import mlflow_run

    manifest = read_manifest(PREPARED)
    training = current_training(params)
    cost = [benchmark.measure(path) for path in _exported(params, training.scale).values()]
    origin = mlflow_run.origin(training) | {"scored on": manifest["test_sha256"][:16], "LR images": manifest["kernel"]}
    if continued := lineage.sentences(read_metadata(GENERATOR, made_by="train")):
        origin |= {"continued": "; ".join(continued)}
    write_report(
        REPORT,
        f"{training.name}: super-resolution x{training.scale}",
        "gan",
        _table(),
        read_json(STATISTICS, made_by="evaluate"),
        PICTURES,
        {"this run": read_history(training.params, LOSSES)},
        manifest,
        origin,
        cost,
    )
    write_json(SPEED, _page_identity(training) | {"files": cost})  # after the page, which it vouches for
    log.info("Look at %s", REPORT)
    mlflow_run.try_sync(current_training(params), "FINISHED")  # asked anew: page and cost belong to it now


def register(params: Params) -> None:
    """Put the exported model into MLflow's registry: ``reports/registration.json``, with a card, ``MODEL_CARD.md``."""
    import onnx

    from srgan.data.manifest import read_manifest
    from srgan.evaluation.model_card import model_card
    from srgan.tracking import registry

    training = current_training(params)
    path = _exported(params, training.scale)["fp32"]
    table = _table()  # an unscored model is not to be registered
    if not _has_page(training):  # DVC may have brought the scores from its cache, or from another revision
        report(params)
        training = current_training(params)
    name = registered_name(params, training.scale)
    tags = {"srgan.key": training.key, "sr.objective": "gan", "sr.train_data_sha256": training.data_sha256}
    tags[registry.TEST_TAG] = read_manifest(PREPARED)["test_sha256"]
    tags[registry.DIFFERENCE_TAG] = str(max(read_json(EXPORT, made_by="export")["max_difference"].values()))
    scores = table[table["model"] == "onnx-fp32"]
    described = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    statistics, exported = read_json(STATISTICS, made_by="evaluate"), read_json(EXPORT, made_by="export")
    _check_digest(path, exported)
    card = model_card(described, read_manifest(PREPARED), statistics, exported)
    write_text(MODEL_CARD, card)
    version = registry.register(path, training, name, params.register.alias, tags, scores, card)
    # Neither version nor run id: both depend on the server, and an out must follow from its dependencies alone.
    record = {"model": name, "alias": params.register.alias, "key": training.key, "file": path.name, "sha256": sha256(path)}
    write_json(REGISTRATION, record)
    log.info("%s version %d has the alias %s; see it with: make mlflow", name, version["version"], version["alias"])
    if (checkpoints := _checkpoints(training)) != CHECKPOINTS:  # the experiment is through
        shutil.rmtree(checkpoints, ignore_errors=True)


STAGES: dict[str, Callable[..., None]] = {
    function.__name__: function for function in (download, prepare, pretrain, train, export, evaluate, report, register)
}


def sync(params: Params) -> None:
    """Bring MLflow up to date with the files: what an outage left out, or what the DVC cache brought to another server."""
    from srgan.tracking import mlflow_run
    from srgan.tracking import store as mlflow_store

    training = current_training(params)
    try:
        mlflow_run.sync(training, "FINISHED")
    except Exception as error:  # see tracking.try_sync
        why = mlflow_store.explained(error)
        raise type(why)(f"{why}; the files are safe, run again: srgan sync") from error
    registered = read_state(REGISTRATION)
    if isinstance(registered, dict) and registered.get("key") == training.key:  # else its scores are not there yet
        register(params)


def _table() -> Any:
    """The scores per image."""
    from srgan.evaluation.evaluate import read_table

    return read_table(require(TABLE, "evaluate"))


def last_export() -> Path:
    """The float32 model that the stage `export` has written; without its record, the only one under ``models/``."""
    if EXPORT.is_file():
        exported = read_json(EXPORT, made_by="export")
        path = MODELS / plain_name(exported.get("file") if isinstance(exported, dict) else None, f"{EXPORT}: file", ".onnx")
        _check_digest(require(path, "export"), exported)
        return path
    found = sorted(MODELS.glob("*-fp32.onnx"))
    if not found:
        raise SrganError(f"{MODELS}/*-fp32.onnx: no exported model yet; make one with: dvc repro export, or name one with --model")
    if len(found) > 1:
        raise SrganError(f"{MODELS}: several models ({', '.join(path.name for path in found)}); name one with --model")
    return found[0]


def _check_digest(path: Path, exported: dict[str, Any]) -> None:
    """Refuse a file that is not the one whose digest the stage `export` has recorded."""
    if exported.get("sha256") != sha256(path):
        raise SrganError(f"{path}: damaged or replaced: not the file that {EXPORT} records; make it again with: dvc repro -f export")


def _checkpoints(training: Any) -> Path:
    """The folder of a training's checkpoints. That of an experiment in a temporary copy outlives the copy, so that a killed one resumes."""
    root = git.working_copy()
    return CHECKPOINTS if root == Path.cwd() else root / CHECKPOINTS / "experiments" / training.key


def _page_identity(training: Any) -> dict[str, str]:
    """Whose page ``report.html`` is. Page and cost are no outs of DVC, which leaves those of another training in place."""
    return {"training": training.key, "scores": sha256(require(TABLE, "evaluate"))}


def _has_page(training: Any) -> bool:
    """Whether the page and the measured cost are of this training and these scores."""
    measured = read_state(SPEED)
    return isinstance(measured, dict) and REPORT.is_file() and TABLE.is_file() and _page_identity(training).items() <= measured.items()


def _exported(params: Params, scale: int) -> dict[str, Path]:
    """The exported files by their precision."""
    from srgan.export.onnx import PRECISIONS, file_name

    folders = {precision: MODELS if precision == "fp32" else REDUCED for precision in PRECISIONS}
    paths = {name: folder / file_name(scale, params.export.name, params.model.name, name) for name, folder in folders.items()}
    require(paths["fp32"], "export")
    return {precision: path for precision, path in paths.items() if path.is_file()}


def _champion(params: Params, scale: int, folder: Path) -> Any:
    """The registered champion, ready to enlarge; None if there is none or, with a warning, if it is not to be had."""
    from srgan.inference.upscaler import Upscaler
    from srgan.tracking import registry

    try:
        path = registry.find(registered_name(params, scale), "champion", folder)
        return Upscaler(path, threads=1) if path else None
    except SrganError as error:
        log.warning("the champion goes unscored: %s", error)
        return None


def registered_name(params: Params, scale: int) -> str:
    """The name of the model in the registry."""
    return f"{params.register.name}-x{scale}"


def current_training(params: Params, stage: str | None = None) -> Any:
    """What the tracker is to know.

    Args:
        params: the whole configuration.
        stage: the training stage at work; None once all are through: then the generator must be that of these parameters.
    """
    from srgan.data.manifest import read_manifest
    from srgan.tracking.mlflow_run import Training

    manifest = read_manifest(PREPARED)
    kept = flatten({
        "data": {"train": params.data.names("train")},
        "prepare": to_dict(params.prepare),
        "model": to_dict(params.model),
        "pretrain": to_dict(params.pretrain),
        "train": to_dict(params.train),
    })  # fmt: skip
    training = Training(
        name=f"{params.export.name}-{params.model.name}-x{manifest['scale']}",
        params=kept,
        identity={name: identity(getattr(params, name)) for name in ("model", "pretrain", "train")},
        scale=manifest["scale"],
        data_name="+".join(params.data.names("train")),
        data_sha256=manifest["train_sha256"],
        losses=LOSSES if stage != "pretrain" else {"pretrain": LOSSES["pretrain"]},
        folders={},
        scores=METRICS if stage is None else None,
        statistics=STATISTICS if stage is None else None,
        artifacts=(TABLE, COMPARISON, PICTURES, EXPORT) if stage is None else (),
        profile=profiles.closest(params),
    )
    checkpoints = _checkpoints(training)
    training = replace(training, folders={name: checkpoints / name for name in LOSSES if stage in (None, "train", name)})
    if stage is None:
        if read_metadata(GENERATOR, made_by="train").get("sr.train_run") != training.key:
            raise SrganError(
                f"{GENERATOR}: trained with other parameters or data than params.yaml now names; run: dvc repro "
                "(if that runs nothing, params.yaml was edited while it trained: dvc repro -f train)"
            )
        if _has_page(training):
            training = replace(training, cost=SPEED, artifacts=(*training.artifacts, REPORT))
    return training
