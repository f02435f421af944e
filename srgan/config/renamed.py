"""Names that options had before, so that old files keep loading."""

from typing import Any

from srgan.config.yaml import Keys

_STAGE = {
    "batch": "batch_size",
    "patch": "patch_size",
    "accumulate": "gradient_accumulation",
    "clip": "grad_clip",
    "start": "pretrained",
}
_RUNTIME = ("log_every", "validate_every", "checkpoint_every", "rollbacks", "nproc_per_node")
RENAMED: dict[str, str] = {
    "prepare.max_bad": "prepare.max_unreadable",
    "export.plain": "export.optimize_graph",
    **{f"{stage}.{old}": f"{stage}.{new}" for stage in ("pretrain", "train") for old, new in _STAGE.items()},
    **{f"{stage}.{key}": f"runtime.{stage}.{key}" for stage in ("pretrain", "train") for key in _RUNTIME},
    **{f"{stage}.recompute": f"runtime.{stage}.activation_checkpointing" for stage in ("pretrain", "train")},
}
INVERTED = ("export.plain",)


def rename(values: dict[str, Any]) -> tuple[dict[str, Any], dict[Keys, Keys], list[str]]:
    """Move values from old names to new ones. A file that has both keeps the old one, which is then an unknown option.

    Args:
        values: the file, as nested dictionaries; not changed.

    Returns:
        The values under the new names, the keys in the file of each moved value, and a phrase for each old name.
    """
    values = _copied(values)
    origins: dict[Keys, Keys] = {}
    phrases = []
    for old, new in RENAMED.items():
        (*sections, key), (*new_sections, new_key) = old.split("."), new.split(".")
        holder = _section(values, sections)
        if holder is None or key not in holder:
            continue
        target = _section(values, new_sections, make=True)
        if target is None or new_key in target:
            continue
        value = holder.pop(key)
        target[new_key] = not value if old in INVERTED and isinstance(value, bool) else value
        origins[tuple(new.split("."))] = tuple(old.split("."))
        phrases.append(f"{old} is now {new}" + (" (the opposite)" if old in INVERTED else ""))
    return values, origins, phrases


def _copied(value: Any) -> Any:
    return {key: _copied(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def _section(values: dict[str, Any], names: list[str], make: bool = False) -> dict[str, Any] | None:
    for name in names:
        inner = values.setdefault(name, {}) if make else values.get(name)
        if not isinstance(inner, dict):
            return None
        values = inner
    return values
