"""Going on with a training under other options: more steps, another rate or schedule (`srgan pretrain|train --continue`)."""

from pathlib import Path
from typing import Any

import yaml

from srgan.config.recorded import changed
from srgan.training.checkpoint import FINAL, State, states
from srgan.utils.errors import SrganError
from srgan.utils.files import write_text


def write(path: str | Path, folder: Path, about: dict[str, Any], wanted: str) -> str:
    """Let the parameter file name the state that the next training of a stage goes on from.

    Args:
        path: the parameter file.
        folder: checkpoints of the stage.
        about: the training that ``params.yaml`` names, see `srgan.training.checkpoint.Checkpoints`.
        wanted: name of a state, or the beginning of it; empty: the last one.

    Returns:
        What to say: old and new value of each option.

    Raises:
        SrganError: there is no such state, or the training cannot go on from it.
    """
    stage = folder.name
    state = _choose(folder, wanted)
    if state.about and state.about["options"] == about["options"]:
        raise SrganError(
            f"no option in {path} differs from those of state {state.name}; raise {stage}.steps (or change a rate or schedule) first. "
            f"To resume an interrupted training: srgan {stage}{_others(folder, state)}"
        )
    changes = check(state, about, stage)
    key = f"{stage}.continue_from"
    former = yaml.safe_load(Path(path).read_text(encoding="utf-8")).get(stage, {}).get("continue_from", "none")
    _set_value(Path(path), key, state.name)
    lines = [f"{stage} will go on from the state after step {state.step} ({state.path}):"]
    lines += [f"  {stage}.{name}: {old} -> {new}" for name, (old, new) in changes.items()]
    lines += [f"{path}: {key}: {former} -> {state.name}", "train with: dvc repro"]
    return "\n".join(lines)


def check(state: State, about: dict[str, Any], stage: str) -> dict[str, tuple[Any, Any]]:
    """Make sure that a training can go on from a state. Returns old and new value of each option that differs.

    Raises:
        SrganError: the state is of another network or of other data, or is past the last step.
    """
    if not state.about:
        raise SrganError(f"{state.path}: written by a version of this program that could not continue a training")
    changes = changed(state.about["options"], about["options"])
    network = {key: pair for key, pair in changes.items() if key.startswith(("model.", "discriminator.")) and "learning_rate" not in key}
    problem = ""
    if network:
        problem = "is of another network (" + ", ".join(f"{key} {old} -> {new}" for key, (old, new) in network.items()) + ")"
    elif state.about["inputs"] != about["inputs"]:
        problem = "was trained on other data, or began with other weights"
    elif about["options"]["steps"] <= state.step:
        problem = f"is at step {state.step} already, and {stage}.steps is {about['options']['steps']}: raise that"
    if problem:
        raise SrganError(
            f"{stage}.continue_from: state {state.name} {problem}. To train from the first step, set {stage}.continue_from to none; to use "
            "trained weights with other data, copy the file out of models/ and name it as pretrain.pretrained"
        )
    return changes


def _choose(folder: Path, wanted: str) -> State:
    """The state of this name; without a name the newest of the run at work, else that of the finished run, else one that was set aside."""
    found = [state for state in states(folder) if state.step]
    if wanted:
        found = [state for state in found if state.name.startswith(wanted)]
    if not found:
        raise SrganError(f"{folder}: no state{f' {wanted}' if wanted else ''} to go on from{_others(folder)}")
    at_work = [state for state in found if state.path.parent == folder and state.path.name != FINAL]
    final = [state for state in found if state.path.name == FINAL]
    return (at_work or final or found)[-1]


def _others(folder: Path, state: State | None = None) -> str:
    """The names of the other states there are."""
    names = dict.fromkeys(other.name for other in states(folder) if other.step and other != state)
    return f"; other states: {', '.join(names)}; choose one with: srgan {folder.name} --continue STATE" if names else ""


def _set_value(path: Path, key: str, value: str) -> None:
    """Write one plain value into a section of a YAML file; comments and everything else stay as they are.

    Args:
        path: of a file that `load` accepts.
        key: as ``section.key``; added to the section if it is not there.
        value: to be written without quotes.
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
