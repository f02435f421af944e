"""The models that the page offers: starters, those of the project and those that the user names."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from srgan.config.project import Project
from srgan.inference.upscaler import Upscaler
from srgan.service.limits import Refused
from srgan.service.model import Identity, Loaded, ServedModel
from srgan.starters import catalogue, default
from srgan.utils.errors import SrganError

LOADED_AT_MOST = 3  # models in memory


@dataclass(frozen=True)
class Choice:
    """A model of the page.

    Attributes:
        name: for the list, and for the names of results.
        about: its purpose in one sentence, or an empty text.
        source: returns its current file.
    """

    name: str
    about: str
    source: Callable[[], Path]


class Models:
    """The models of a page. A model is loaded when the first picture needs it.

    Args:
        choices: the models, the first one is the default.
        provider: what runs them, see `srgan.inference.upscaler.Upscaler`.
    """

    def __init__(self, choices: list[Choice], provider: str = "auto") -> None:
        self.choices = {choice.name: choice for choice in choices}
        self._provider = provider
        self._served = lru_cache(LOADED_AT_MOST)(self._open)

    def load(self, name: str) -> Loaded:
        """Return a model, as its file is now.

        Raises:
            Refused: no model has this name, or it cannot be loaded.
        """
        if name not in self.choices:
            raise Refused(422, f"'{name[:80]}' is not a model of this page. Choose one of its list")
        try:
            served = self._served(name)
        except SrganError as error:
            raise Refused(422, str(error)) from error
        served.refresh()
        return served.current

    def _open(self, name: str) -> ServedModel:
        return ServedModel(Upscaler(self.choices[name].source, self._provider), lambda _: Identity(name))


def offered(project: Project, named: list[str], registered: dict[str, Callable[[], Path]]) -> list[Choice]:
    """Return the models of a page: those that the user names, the default of `srgan upscale`, starters and registered models.

    Args:
        project: whose models are offered.
        named: starters, files or registered models that the user names.
        registered: address, such as ``models:/NAME@ALIAS`` -> function that returns the current file.

    Raises:
        SrganError: a named model is missing, or there is none at all.
    """
    addresses = {name: registered[name] for name in named if name in registered}
    choices = [Choice(name, "from MLflow's registry", addresses[name]) if name in addresses else _local(name) for name in named]
    chosen = default.chosen_starter(project)
    if not chosen:
        path = project.exported_model()
        choices.append(Choice(path.name, "the model of this project", project.exported_model))
    choices += [_local(name) for name in sorted(catalogue.names(), key=lambda name: name != chosen)]
    choices += [Choice(address, "from MLflow's registry", source) for address, source in registered.items()]
    if not choices:
        raise SrganError("this installation has no starters and this folder has no model. Name one: srgan demo FILE")
    return [choice for index, choice in enumerate(choices) if choice.name not in {former.name for former in choices[:index]}]


def _local(name: str) -> Choice:
    """Return a starter or a file."""
    if catalogue.has(name):
        starter = catalogue.find(name)
        return Choice(name, starter.card.purpose, lambda: starter.weights)
    path = catalogue.resolve(name)
    if not path.is_file():
        raise SrganError(f"{name}: no such file. Name a starter ({catalogue.known()}), an .onnx file or weights")
    return Choice(path.name, "", lambda: path)
