"""The model that `srgan upscale` takes if none is named: the chosen starter, the project's own model, or the default starter."""

from pathlib import Path

from srgan.config.project import Project
from srgan.starters import catalogue
from srgan.utils.errors import SrganError
from srgan.utils.files import write_text

OWN = "own"  # the exported model of the project


def chosen_starter(project: Project, fallback: str = catalogue.DEFAULT) -> str:
    """Return the name of the starter that the project uses, or an empty text if it uses its exported model.

    Args:
        project: the files.
        fallback: the starter for a project without a choice and without a model.

    Raises:
        SrganError: the recorded starter is not in this installation.
    """
    if project.chosen_model.is_file():
        name = project.chosen_model.read_text(encoding="utf-8", errors="replace").strip()
        if not catalogue.has(name):
            advice = f"choose another with srgan models use, or return to the project's model: srgan models use {OWN}"
            raise SrganError(f"{project.chosen_model}: {name!r} is no starter ({catalogue.known()}); {advice}")
        return name
    return "" if project.is_exported else fallback


def default_model(project: Project, fallback: str = catalogue.DEFAULT) -> Path:
    """Return the file of the model that a project uses. Arguments are those of `chosen_starter`.

    Raises:
        SrganError: the project has no model and the default starter is missing, or the model is damaged.
    """
    name = chosen_starter(project, fallback)
    if not name:
        return project.exported_model()
    if not catalogue.has(name):
        raise SrganError(
            f"{project.models.absolute()} has no exported model, and this installation has no starter {name} ({catalogue.known()}). "
            "Name a model with --model, or export one with: dvc repro export"
        )
    return catalogue.find(name).weights


def sentence(project: Project) -> str:
    """Return a sentence that names the model that a project uses."""
    name = chosen_starter(project)
    if name and not catalogue.has(name):
        return f"srgan upscale has no model in this folder: no exported one, and this installation has no starter {name}."
    return f"srgan upscale uses {f'the starter {name}' if name else project.exported_model()} in this folder."


def use(project: Project, name: str) -> str:
    """Make a starter, or with ``own`` the exported model, the model that a project uses. Return a message for the user.

    Raises:
        SrganError: no starter has this name, or its files are damaged.
    """
    path = project.chosen_model.absolute()
    if name != OWN:
        catalogue.find(name)
        write_text(path, f"{name}\n")
        return f"{sentence(project)} {path} records it. Undo it with: srgan models use {OWN}"
    removed = f" {path} is removed." if path.is_file() else ""
    path.unlink(missing_ok=True)
    waiting = "" if project.is_exported else " The project's own model follows with: dvc repro export."
    return f"{sentence(project)}{waiting}{removed}"
