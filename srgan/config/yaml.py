"""Read YAML as DVC does: with ruamel.yaml, by YAML 1.2. So a value has one type for both, and each key knows its line."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

from srgan.utils.errors import SrganError

MAX_CHARACTERS = 100_000  # of a file: larger ones take minutes to read
MAX_VALUES = 200_000  # of a file, with what its aliases repeat
Keys = tuple[str | int, ...]  # the way to a value: names of keys, and positions in lists


def editor() -> YAML:
    """A reader and writer that keeps comments, quotes and order."""
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 200
    yaml.indent(mapping=2, sequence=4, offset=2)  # as `render` writes
    return yaml


def parse(text: str) -> Any:
    """Return the content of a file, with its comments and lines. Raises what ruamel.yaml does."""
    return editor().load(text)


def read(path: Path, hint: str) -> CommentedMap:
    """Read a file whose top level is a mapping.

    Args:
        path: the file.
        hint: what to do if it does not exist.

    Raises:
        SrganError: the file is missing, not UTF-8, not YAML, names a key twice, or is no mapping.
    """
    root = _load(path, hint)
    if root is None:
        raise SrganError(f"{path}: is empty. Write the default options with: srgan profile use demo")
    if not isinstance(root, CommentedMap):
        raise SrganError(f"{path}: must hold sections such as 'data:' and 'train:'. Write an example with: srgan profile use demo")
    return root


def read_list(path: Path, hint: str) -> CommentedSeq:
    """Read a file whose top level is a list. Arguments and errors are those of `read`."""
    root = _load(path, hint)
    if not isinstance(root, CommentedSeq):
        raise SrganError(f"{path}: must hold a list. {hint}")
    return root


def _load(path: Path, hint: str) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise SrganError(f"{path}: no such file. {hint}") from error
    except UnicodeDecodeError as error:
        raise SrganError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    if len(text) > MAX_CHARACTERS:
        raise SrganError(f"{path}: has {len(text):,} characters, and at most {MAX_CHARACTERS:,} are read. Is this the right file?")
    try:
        root = parse(text)
    except MarkedYAMLError as error:
        raise SrganError(f"{path}:{_line(error)}: {_problem(error, text)}") from error
    except RecursionError as error:
        raise SrganError(f"{path}: lists or sections are nested too deeply. Is this the right file?") from error
    except (
        Exception
    ) as error:  # such as a number of thousands of digits, an impossible date, or _ alone, which ruamel.yaml takes for a number
        raise SrganError(f"{path}: not valid YAML: {(str(error) or type(error).__name__).splitlines()[0].partition(';')[0]}") from error
    return root


def _line(error: MarkedYAMLError) -> int:
    mark = error.problem_mark or error.context_mark
    return mark.line + 1 if mark else 1


def _problem(error: MarkedYAMLError, text: str) -> str:
    problem = (error.problem or "").strip()
    if problem.startswith("found duplicate key"):
        first = f" (first on line {error.context_mark.line + 1})" if error.context_mark else ""
        return f"{problem.removeprefix('found ').partition(' with')[0]}{first}. Delete one"
    lines = text.splitlines()
    if "\t" in (lines[_line(error) - 1] if _line(error) <= len(lines) else ""):
        return "a tab cannot indent YAML. Use spaces"
    return f"not valid YAML: {problem}"


def plain(root: CommentedMap | CommentedSeq, path: Path) -> Any:
    """Return a file's content in Python's own types, see `to_plain`.

    Args:
        root: the file, see `read`.
        path: the file, for errors.

    Raises:
        SrganError: aliases repeat too much of the file, or repeat a list inside itself.
    """
    try:
        return to_plain(root)
    except RecursionError as error:
        raise SrganError(f"{path}: an alias (*name) repeats a list or section inside itself") from error
    except OverflowError as error:
        raise SrganError(f"{path}: has more than {MAX_VALUES:,} values. Aliases (*name) repeat too much of it") from error


def to_plain(value: Any) -> Any:
    """Return a value in Python's own types. Lists become tuples, keys become text.

    Raises:
        OverflowError: it has more than `MAX_VALUES` parts.
    """
    count = 0

    def convert(value: Any) -> Any:
        nonlocal count
        count += 1
        if count > MAX_VALUES:
            raise OverflowError
        if isinstance(value, dict):
            return {str(key): convert(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return tuple(convert(inner) for inner in value)
        if isinstance(value, ScalarBoolean):  # an integer to Python
            return bool(value)
        return next((kind(value) for kind in (bool, int, float, str) if isinstance(value, kind)), value)

    return convert(value)


def line_of(root: CommentedMap | CommentedSeq, keys: Keys) -> int:
    """Return the line, from 1, of the value that `keys` lead to, or of the nearest enclosing one in the file."""
    node, line = root, 1
    for key in keys:
        if isinstance(node, dict) and key not in node:
            break
        try:
            line = (node.lc.key(key) if isinstance(node, dict) else node.lc.item(key))[0] + 1
            node = node[key]
        except (AttributeError, KeyError, IndexError, TypeError):  # a merged key, or a scalar
            break
    return line
