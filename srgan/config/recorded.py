"""What of ``params.yaml`` a result follows from: the keys that DVC records, and those that are part of no identity."""

import dataclasses
from pathlib import Path
from typing import Any

import yaml

from srgan.config.schema import Optimization, Params, Pretrain, Train, flatten, load, to_dict
from srgan.utils.errors import SrganError

# Keys of `pretrain` and `train` that say how a training runs, not what it learns. They are part of no identity: a checkpoint, the key of a
# training and DVC do without them, so that changing one neither loses progress nor trains again.
RUNNING = ("nproc_per_node", "recompute", "rollbacks", "log_every", "validate_every", "checkpoint_every")


def _keys(section: str, cls: type) -> tuple[str, ...]:
    return tuple(f"{section}.{field.name}" for field in dataclasses.fields(cls) if field.name not in RUNNING)


# What DVC records for each stage: keys and sections that its results follow from. ``dvc.yaml`` lists the same; a test compares them.
RECORDED: dict[str, tuple[str, ...]] = {
    "download": ("data",),
    "prepare": ("prepare", "pretrain.start"),
    "pretrain": ("model", *_keys("pretrain", Pretrain)),
    "train": _keys("train", Train),
    "export": ("export",),
    "evaluate": ("evaluate",),
    "report": (),
    "register": ("register",),
}


def require_recorded(path: str | Path) -> None:
    """Make sure that a file has every key that DVC records, also those that may be left out elsewhere.

    Raises:
        SrganError: one is missing. DVC itself would say so only after the stage.
    """
    values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    for name in (name for names in RECORDED.values() for name in names):
        section, _, key = name.partition(".")
        if key and key not in values[section]:
            raise SrganError(f"{path}: {name}: missing, and DVC records it; add under '{section}' the line: {key}: none")


def refuse_edits(loaded: Params, path: str | Path, stage: str, advice: str = "") -> None:
    """Compare a stage's parameters with the file. DVC records the file as it is when the stage ends, not as it was when it began.

    Args:
        loaded: what the stage ran with.
        path: of the file.
        stage: whose keys matter.
        advice: what else to say.

    Raises:
        SrganError: a key that DVC records for the stage has another value now, or the file cannot be read.
    """
    try:
        now = load(path)
    except SrganError as error:
        raise SrganError(f"{error}. It was edited while this ran; correct it and run the same command again{advice}") from error
    changes = changed(_recorded(loaded, stage), _recorded(now, stage))
    if changes:
        told = ", ".join(f"{key}: {old} -> {new}" for key, (old, new) in changes.items())
        raise SrganError(
            f"{path} was edited while this ran ({told}), and DVC would record the result under the new values. "
            f"Put the old values back, or keep the new ones, and run the same command again{advice}"
        )


def _recorded(params: Params, stage: str) -> dict[str, Any]:
    keys = tuple(f"{key}." for key in RECORDED.get(stage, ()))
    return {name: value for name, value in flatten(params).items() if f"{name}.".startswith(keys)}


def changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The old and the new value of each key that differs between two flat dictionaries; ``-`` where one has none."""
    keys = {**before, **after}
    return {key: (before.get(key, "-"), after.get(key, "-")) for key in keys if before.get(key, "-") != after.get(key, "-")}


def identity(options: Optimization) -> dict[str, Any]:
    """The options of a training stage that its result follows from, as nested plain dictionaries."""
    left_out = (*RUNNING, "continue_from") if options.continue_from == "none" else RUNNING
    return {key: value for key, value in to_dict(options).items() if key not in left_out}
