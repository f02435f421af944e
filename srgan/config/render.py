"""Write ``params.yaml``: whole, from the schema, or completed, from a file of the user's."""

import functools
import io
import re
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import SingleQuotedScalarString

from srgan.config import yaml
from srgan.config.base import Component, Section
from srgan.config.choice import choice_of
from srgan.config.renamed import INVERTED, RENAMED, STAGES, is_former_default, loss_list
from srgan.config.schema import Params, load
from srgan.utils import files

SCHEMA_FILE = "params.schema.json"
HEADER = f"# yaml-language-server: $schema={SCHEMA_FILE}\n"  # so editors complete and check the file


def render(params: Params, head: str = "") -> str:
    """Return the whole configuration as YAML, with a comment for every option.

    Args:
        params: the values.
        head: comment lines for the top of the file, without ``#``.
    """
    text = [HEADER.rstrip(), *(f"# {line}".rstrip() for line in head.splitlines())]
    for name, field in Params.model_fields.items():
        text += ["", f"{name}: # {field.description}", *lines(getattr(params, name), "  ", _names(field))]
    return "\n".join(text) + "\n"


def lines(section: Section, indent: str = "", names: str = "") -> list[str]:
    """Return the options of a section as lines of YAML, each with its comment.

    Args:
        section: the values.
        indent: spaces before each line.
        names: of a component, the names to choose from.
    """
    text: list[str] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        comment = names if name == "name" and names else field.description
        if isinstance(value, Section) and not value.FLOW:
            text += [f"{indent}{name}: # {comment}", *lines(value, indent + "  ", _names(field))]
        elif isinstance(value, tuple) and any(isinstance(item, Component) for item in value):
            text += [f"{indent}{name}: # {comment}", *(f"{indent}  - {scalar(item)}" for item in value)]
        else:
            text.append(f"{indent}{name}: {scalar(value)} # {comment}")
    return text


def _names(field: FieldInfo) -> str:
    """Return the names that a field may choose from, such as ``patch, vgg or unet``."""
    choice = choice_of(field)
    *names, last = choice.components() if choice else [""]
    return f"{', '.join(names)} or {last}" if names else last


def scalar(value: Any) -> str:
    """Return a value on one line, as both YAML and people read it."""
    if isinstance(value, Section):
        return "{" + ", ".join(f"{name}: {scalar(inner)}" for name, inner in value if inner != "") + "}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {scalar(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(scalar, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        short = re.sub(r"e-0", "e-", f"{value:.1e}")
        return short if 0 < abs(value) < 1e-2 and float(short) == value else repr(value)
    return _text(value) if isinstance(value, str) else str(value)


@functools.cache  # a new reader takes milliseconds
def _text(value: str) -> str:
    """Return text, in quotes only where YAML would read it as something else."""
    safe = value.strip() == value and value[:1] not in "-?" and value.isprintable() and not set(value) & set(":#{}[],&*!|>'\"%@`=")
    if safe and isinstance(yaml.editor().load(value), str):
        return value
    return "'" + value.replace("'", "''") + "'" if value.isprintable() else _escaped(value)


def _escaped(value: str) -> str:
    buffer = io.StringIO()
    yaml.editor().dump([value], buffer)
    return buffer.getvalue().removeprefix("- ").strip()


def update_file(path: Path) -> list[str]:
    """Write what `update` returns, and return a line for each change."""
    text, changes = update(path)
    if not changes:
        return [f"{path} has all options under their present names already"]
    files.write_text(path, text)
    return [*(f"{path}: {change}" for change in changes), f"{path}: {len(changes)} changes. Comments and values are kept"]


def update(path: Path) -> tuple[str, list[str]]:
    """Complete a file of the user's: new names for old ones, every missing option with its default. Comments and values stay.

    Returns:
        The new text, and a phrase for each change.

    Raises:
        SrganError: the file is not valid.
    """
    params = load(path, warn=False)
    root = yaml.read(path, "")
    changes = {new: f"{old} is now {new}" for old, new in RENAMED.items() if _move(root, old, new)}
    changes |= {f"{stage}.losses": f"{stage}.losses is now a list" for stage in STAGES if _list_losses(root, stage)}
    added = [name for name in Params.model_fields if name not in yaml.read(path, "")]
    for name, field in Params.model_fields.items():
        _complete(root, Params, name, getattr(params, name), field, "", changes)
    buffer = io.StringIO()
    yaml.editor().dump(root, buffer)
    text = buffer.getvalue()
    for name in added:  # a blank line before it and after it
        text = re.sub(rf"(?m)([^\n]\n)(?={name}:)", r"\1\n", text)
        text = re.sub(rf"(?m)^({name}:.*\n(?: .*\n)*)(?=\S)", r"\1\n", text)
    return text if text.startswith(HEADER.split("=")[0]) else HEADER + text, list(changes.values())


def _move(root: CommentedMap, old: str, new: str) -> bool:
    """Move a value to its new name. Return whether there was one."""
    (*sections, key), (*new_sections, new_key) = old.split("."), new.split(".")
    holder: Any = root
    for name in sections:
        holder = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(holder, CommentedMap) or key not in holder:
        return False
    value = not holder[key] if old in INVERTED else holder[key]
    if sections == new_sections:  # at its place, with its comment
        holder.insert(list(holder).index(key), new_key, value)
        if key in holder.ca.items and old not in INVERTED:  # the comment of an inverted value is wrong
            holder.ca.items[new_key] = holder.ca.items[key]
        holder.ca.items.pop(key, None)
        del holder[key]
    else:
        del holder[key]
        target: Any = root
        for name in new_sections:
            target = target.setdefault(name, CommentedMap())
        if not is_former_default(old, value):
            target[new_key] = value
    return True


def _list_losses(root: CommentedMap, stage: str) -> bool:
    """Turn the losses of an old file, a mapping, into a list, with the comment of each. Return whether there was one."""
    losses = root[stage].get("losses") if isinstance(root.get(stage), CommentedMap) else None
    if not isinstance(losses, CommentedMap):
        return False
    items = CommentedSeq()
    for number, (key, item) in enumerate(loss_list(losses).items()):
        items.append(yaml.editor().load(scalar(item)))
        if comment := losses.ca.items.get(key):
            items.yaml_add_eol_comment(comment[2].value, number)
    root[stage]["losses"] = items
    return True


def _complete(
    holder: CommentedMap, kind: type[Section], name: str, value: Any, field: FieldInfo, prefix: str, changes: dict[str, str]
) -> None:
    """Add an option to its section, where it is missing, or the missing options of a section."""
    place = f"{prefix}{name}"
    if name not in holder:
        later = list(kind.model_fields)[list(kind.model_fields).index(name) + 1 :]
        last = len(holder) - 1 if prefix else len(holder)  # a blank line after a section is part of its last option
        holder.insert(next((list(holder).index(key) for key in later if key in holder), max(last, 0)), name, _node(value))
        changes[place] = f"{place} added" if isinstance(value, Section) else f"{place} added: {scalar(value)}"
    elif isinstance(value, Section) and isinstance(holder[name], CommentedMap):
        for inner, inner_field in type(value).model_fields.items():
            _complete(holder[name], type(value), inner, getattr(value, inner), inner_field, f"{place}.", changes)
    if name not in holder.ca.items and (place in changes or any(change.startswith(f"{place}.") for change in changes)):
        holder.yaml_add_eol_comment(f"{field.description}", name)


def _node(value: Any) -> Any:
    """Return what ruamel.yaml writes for a value."""
    if isinstance(value, Section):
        node = CommentedMap()
        for name, field in type(value).model_fields.items():
            node[name] = _node(getattr(value, name))
            if not value.FLOW:
                node.yaml_add_eol_comment(f"{field.description}", name)
        if value.FLOW:
            node.fa.set_flow_style()
        return node
    if isinstance(value, tuple | dict):
        return yaml.editor().load(scalar(value))
    return SingleQuotedScalarString(value) if isinstance(value, str) and _text(value).startswith("'") else value
