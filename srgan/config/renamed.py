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
    **{f"{stage}.compile": f"runtime.{stage}.compile" for stage in ("pretrain", "train")},
}
INVERTED = ("export.plain",)
FORMER_DEFAULTS = {f"{stage}.compile": False for stage in ("pretrain", "train")}  # every old file has them, so they become the present ones
STAGES = ("pretrain", "train")  # their losses were a mapping once
_ORDER = ("pixel", "perceptual", "adversarial", "tv")
_PERCEPTUAL = {"discriminator": "feature_matching", "lpips-squeeze": "lpips_squeeze", "lpips-alex": "lpips_alex"}


def is_former_default(old: str, value: Any) -> bool:
    """Return whether a file of a former version has this value because it was the default, so that the present default replaces it."""
    return old in FORMER_DEFAULTS and value is FORMER_DEFAULTS[old]


def rename(values: dict[str, Any]) -> tuple[dict[str, Any], dict[Keys, Keys], list[str]]:
    """Move values from old names to new ones. A file that has both keeps the old one, which is then an unknown option.

    Args:
        values: the file, as nested dictionaries. They are not changed.

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
        if not is_former_default(old, value):
            target[new_key] = not value if old in INVERTED and isinstance(value, bool) else value
        origins[tuple(new.split("."))] = tuple(old.split("."))
        phrases.append(f"{old} is now {new}" + (" (the opposite)" if old in INVERTED else ""))
    for stage in STAGES:
        holder = values.get(stage)
        if isinstance(holder, dict) and isinstance(holder.get("losses"), dict):
            items = loss_list(holder["losses"])
            holder["losses"] = tuple(items.values())
            origins |= {(stage, "losses", number): (stage, "losses", key) for number, key in enumerate(items)}
            phrases.append(f"{stage}.losses is now a list")
    return values, origins, phrases


def loss_list(losses: dict[str, Any]) -> dict[str, Any]:
    """Return the losses of an old file, a mapping, as items of the list that they are now.

    Args:
        losses: with the keys `pixel`, `perceptual`, `adversarial` and `tv`.

    Returns:
        Old key -> item, in the order of the list. Losses that are turned off are left out, except pixel and adversarial losses: these are
        logged and train the discriminator. What does not fit stays as it is, so that the check of the file reports it.
    """
    items: dict[str, Any] = {}
    for key in sorted(losses, key=lambda key: (*_ORDER, key).index(key)):
        value = losses[key]
        if key == "pixel" and isinstance(value, str):
            items[key] = {"name": value}
        elif key == "tv" and isinstance(value, int | float):
            if value:
                items[key] = {"name": "tv", "weight": value}
        elif key == "perceptual" and isinstance(value, dict) and "network" in value:
            if value.get("weight") != 0:
                options = {name: inner for name, inner in value.items() if name != "network"}
                items[key] = {"name": _PERCEPTUAL.get(value["network"], value["network"])} | options
        else:
            items[key] = value
    return items


def origin(keys: Keys, origins: dict[Keys, Keys]) -> Keys:
    """Return the keys in the file of a value under its present name."""
    for length in range(len(keys), 0, -1):
        if keys[:length] in origins:
            return origins[keys[:length]] + keys[length:]
    return keys


def set_option(values: dict[str, Any], name: str, value: Any, sections: tuple[str, ...]) -> bool:
    """Set an option of a file, under the name that it has there. Old and present names are accepted.

    Args:
        values: the file, as nested dictionaries.
        name: such as ``train.steps`` or, for the loss of this name, ``train.losses.l1.weight``.
        value: its value.
        sections: the sections of the file. One that is missing is added.

    Returns:
        False if there is no such place.
    """
    present = RENAMED.get(name, name)
    there = next((old for old, new in RENAMED.items() if new == present and _has(values, old)), present)
    (*path, key) = there.split(".")
    holder: Any = values if path[:1] and path[0] in sections else None
    for part in path:
        if isinstance(holder, list):
            holder = next((item for item in holder if isinstance(item, dict) and item.get("name") == part), None)
        else:
            holder = holder.setdefault(part, {}) if isinstance(holder, dict) else None
    if not isinstance(holder, dict):
        return False
    holder[key] = not value if isinstance(value, bool) and (name in INVERTED) != (there in INVERTED) else value
    return True


def _has(values: dict[str, Any], name: str) -> bool:
    (*path, key) = name.split(".")
    holder = _section(values, path)
    return holder is not None and key in holder


def _copied(value: Any) -> Any:
    return {key: _copied(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def _section(values: dict[str, Any], names: list[str], make: bool = False) -> dict[str, Any] | None:
    for name in names:
        inner = values.setdefault(name, {}) if make else values.get(name)
        if not isinstance(inner, dict):
            return None
        values = inner
    return values
