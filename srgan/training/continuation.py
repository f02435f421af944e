"""Continue a training with other options, such as more steps or another learning rate (`srgan pretrain|train --continue`)."""

from pathlib import Path
from typing import Any

import yaml

from srgan.config.recorded import changed
from srgan.training.checkpoint import FINAL, State, states
from srgan.utils.errors import SrganError
from srgan.utils.files import write_text


def write(path: str | Path, folder: Path, about: dict[str, Any], wanted: str) -> str:
    """Write into the parameter file which state the next training of a stage continues from.

    Args:
        path: the parameter file.
        folder: checkpoints of the stage.
        about: description of the training of ``params.yaml``, see `srgan.training.checkpoint.Checkpoints`.
        wanted: name of a state, or its first characters. Empty: the last state.

    Returns:
        Text for the user: old and new value of each option.

    Raises:
        SrganError: there is no such state, or the training cannot continue from it.
    """
    stage = folder.name
    state = _choose(folder, wanted)
    if state.about and state.about["options"] == about["options"]:
        raise SrganError(
            f"no option in {path} differs from those of state {state.name}. First raise {stage}.steps or change the learning "
            f"rate. To resume an interrupted training: srgan {stage}{_others(folder, state)}"
        )
    changes = check(state, about, stage)
    key = f"{stage}.continue_from"
    former = yaml.safe_load(Path(path).read_text(encoding="utf-8")).get(stage, {}).get("continue_from", "none")
    set_value(Path(path), key, state.name)
    lines = [f"{stage} will continue from the state after step {state.step} ({state.path}):"]
    lines += [f"  {stage}.{name}: {old} -> {new}" for name, (old, new) in changes.items()]
    lines += [f"{path}: {key}: {former} -> {state.name}", "train with: dvc repro"]
    return "\n".join(lines)


def check(state: State, about: dict[str, Any], stage: str) -> dict[str, tuple[Any, Any]]:
    """Check that a training can continue from a state. Returns old and new value of each option that differs.

    Raises:
        SrganError: the state is of another network, of another optimizer or of other data, or is past the last step.
    """
    if not state.about:
        raise SrganError(f"{state.path}: a version without --continue wrote this state. Train from the first step")
    changes = changed({"optimizer.name": "adam"} | state.about["options"], about["options"])  # former versions had Adam alone
    of_network = [key for key in changes if key.startswith(("model.", "discriminator."))]
    network = [key for key in of_network if not key.endswith(("learning_rate", "pretrained"))]
    optimizer = [key for key in changes if key.startswith("optimizer.")]
    problem = ""
    if network or optimizer:
        shown = ", ".join("{} {} -> {}".format(key, *changes[key]) for key in network or optimizer)
        problem = f"is of another {'network' if network else 'optimizer'} ({shown})"
    elif state.about["inputs"] != about["inputs"]:
        problem = "was trained on other data or from other weights"
    elif about["options"]["steps"] <= state.step:
        problem = f"is at step {state.step} already: raise {stage}.steps (is {about['options']['steps']})"
    if problem:
        raise SrganError(
            f"{stage}.continue_from: state {state.name} {problem}. To train from the first step, set {stage}.continue_from to none. To use "
            "trained weights with other data, copy the file out of models/ and set pretrain.pretrained to the copy"
        )
    return changes


def _choose(folder: Path, wanted: str) -> State:
    """Return the state of this name. Without a name: the newest of the current run, of the finished run, or of a run set aside."""
    found = [state for state in states(folder) if state.step]
    if wanted:
        found = [state for state in found if state.name.startswith(wanted)]
    if not found:
        raise SrganError(f"{folder}: no state{f' {wanted}' if wanted else ''} to continue from{_others(folder)}")
    at_work = [state for state in found if state.path.parent == folder and state.path.name != FINAL]
    final = [state for state in found if state.path.name == FINAL]
    return (at_work or final or found)[-1]


def _others(folder: Path, state: State | None = None) -> str:
    """Return a phrase with the names of the other states."""
    names = dict.fromkeys(other.name for other in states(folder) if other.step and other != state)
    return f". Other states: {', '.join(names)}. Choose one with: srgan {folder.name} --continue STATE" if names else ""


def set_value(path: Path, key: str, value: str) -> None:
    """Write one scalar into a section of a YAML file and keep the rest, with its comments.

    Args:
        path: a valid parameter file.
        key: ``section.key``. A missing key is added.
        value: text that needs no quotes.
    """
    text = path.read_text(encoding="utf-8")
    section, _, name = key.partition(".")
    top = yaml.compose(text, Loader=yaml.SafeLoader)
    node = next((inner for outer, inner in top.value if outer.value == section), None)
    if node is None:
        write_text(path, f"{text.rstrip()}\n{section}:\n  {name}: {value}\n")
        return
    former = next((inner for outer, inner in node.value if outer.value == name), None)
    if former is not None:
        start, end, new = former.start_mark.index, former.end_mark.index, value
    else:  # before the first key of the section
        first = node.value[0][0].start_mark
        start, end = first.index, first.index
        new = f"{name}: {value}, " if node.flow_style else f"{name}: {value}\n{' ' * first.column}"
    write_text(path, text[:start] + new + text[end:])
