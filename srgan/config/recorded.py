"""DVC's view of ``params.yaml``: the keys that it records for each stage, and the ones that it must find in the file."""

from pathlib import Path
from typing import Any

from srgan.config import yaml
from srgan.config.schema import Params, flatten, load
from srgan.utils.errors import SrganError

# What DVC records for each stage. ``dvc.yaml`` lists the same keys; a test compares the two. How a training runs (``runtime``) is not
# recorded, because it does not change results.
RECORDED: dict[str, tuple[str, ...]] = {
    "download": ("data",),
    "prepare": ("prepare", "pretrain.pretrained"),
    "pretrain": ("model", "pretrain"),
    "train": ("train",),
    "export": ("export",),
    "evaluate": ("evaluate",),
    "report": (),
    "register": ("register",),
}
INTERPOLATED = ("prepare.scale", "export.name", "model.name")  # in the names of files in ``dvc.yaml``


def require_recorded(path: str | Path) -> None:
    """Require that a file has every key that DVC reads. DVC does not know the defaults.

    Raises:
        SrganError: keys are missing. DVC itself would report them after the stage.
    """
    path = Path(path)
    values = yaml.plain(yaml.read(path, "Write one with: srgan profile use demo"), path)
    names = dict.fromkeys([*INTERPOLATED, *(name for names in RECORDED.values() for name in names)])
    missing = [name for name in names if not _has(values, name)]
    if missing:
        raise SrganError(f"{path}: DVC needs {', '.join(missing)} in the file. Add the missing options with: srgan params update")


def _has(values: Any, name: str) -> bool:
    for key in name.split("."):
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True


def refuse_edits(loaded: Params, path: str | Path, stage: str, advice: str = "") -> None:
    """Compare the parameters of a stage with the file. DVC records the file as it is when the stage ends, not when it starts.

    Args:
        loaded: the parameters of the stage.
        path: the file.
        stage: the stage, whose keys are compared.
        advice: an addition to the message.

    Raises:
        SrganError: a key that DVC records for the stage has another value now, or the file cannot be read.
    """
    try:
        now = load(path)
    except SrganError as error:
        raise SrganError(f"{error}\nThe file was edited while this ran. Correct it and run the same command again{advice}") from error
    changes = changed(_recorded(loaded, stage), _recorded(now, stage))
    if changes:
        edits = ", ".join(f"{key}: {old} -> {new}" for key, (old, new) in changes.items())
        raise SrganError(
            f"{path} was edited while this ran ({edits}), and DVC would record the result under the new values. "
            f"Put the old values back, or keep the new ones, and run the same command again{advice}"
        )


def _recorded(params: Params, stage: str) -> dict[str, Any]:
    keys = tuple(f"{key}." for key in RECORDED.get(stage, ()))
    return {name: value for name, value in flatten(params).items() if f"{name}.".startswith(keys)}


def changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the old and the new value of each key that differs between two flat dictionaries. ``-`` stands for a missing key."""
    keys = {**before, **after}
    return {key: (before.get(key, "-"), after.get(key, "-")) for key in keys if before.get(key, "-") != after.get(key, "-")}
