"""The entry point of the `srgan` command: start-up, errors and exit codes."""

import functools
import gc
import logging
import os
import re
import signal
import sys
import threading
import traceback
from typing import Annotated, Any, NoReturn

import typer
from typer.main import get_command

from srgan import __version__
from srgan.commands import (
    ci,
    data,
    degrade,
    demo,
    finetune,
    metrics,
    models,
    monitor,
    params,
    profile,
    publish,
    release,
    serve,
    speedrun,
    stages,
    study,
    tune,
    upscale,
)
from srgan.distributed import launch
from srgan.distributed.signals import Interrupted
from srgan.utils import files, machine
from srgan.utils.addresses import without_secrets
from srgan.utils.errors import SrganError

EPILOG = """\
\b
The stages in order. `dvc repro` runs those whose inputs changed:
  download  prepare  pretrain  train  export  evaluate  report  register

\b
A first round:
  dvc repro                            # train, score, export and register
  open reports/report.html             # read the scores
  srgan upscale photo.jpg              # use the model: photo_x4.png

\b
Before a long training:
  srgan profile use srgan-div2k        # the settings of the SRGAN paper
  srgan plan                           # their memory and time on this machine
"""
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # control characters except tab and line feed


def main(arguments: list[str] | None = None) -> None:
    """Run a command.

    Exit codes: 0 for success, 1, 69 or 75 for an error that is printed in one line, 2 for wrong usage, 3 for a promotion that was
    refused, 130 for Ctrl-C and 143 for SIGTERM.

    Args:
        arguments: command and options. Default: those of the process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    command = next((argument for argument in given if not argument.startswith("-")), "")
    _prepare_process(debug)
    try:
        code = _parser().main(given, prog_name="srgan", standalone_mode=False)
        if isinstance(code, int):
            sys.exit(code)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        name = context.command_path if context else "srgan"
        usage = f"{context.get_usage()}\n" if context else ""
        text = error.format_message().replace("Value error, ", "")
        print(_printable(f"{usage}{name}: error: {text}"), file=sys.stderr)
        sys.exit(error.exit_code)
    except SrganError as error:
        _fail(command, debug, str(error), error.EXIT_CODE)
    except OSError as error:
        _fail(command, debug, _explain(error))
    except Exception as error:
        cause = error.__cause__ if isinstance(error, typer.Abort) else error  # typer turns an EOFError into an Abort
        if "home directory" in str(cause) or "getpwuid" in str(cause):  # Python's words. MLflow asks for the folder when it is imported.
            _fail(command, debug, "this user has no home folder, which a library needs; set HOME to a folder that may be written")
        text = f"internal error: {type(cause).__name__}: {cause}; this is a bug, run again with --debug and report it"
        _fail(command, debug, text)
    except Interrupted as error:
        if launch.is_main_process():
            print(f"srgan: {error}; the same command continues from the checkpoint", file=sys.stderr)
        sys.exit(128 + error.signum)


@functools.cache
def _parser() -> Any:
    return get_command(app())


def app() -> typer.Typer:
    """Return the command line with all its commands."""
    made = typer.Typer(
        help="Train, score and ship image super-resolution GANs.",
        epilog=EPILOG,
        callback=_options,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,  # rich takes as long to import as all the rest
    )
    made.add_typer(stages.app)
    made.add_typer(data.app, name="data")
    made.add_typer(params.app, name="params")
    made.add_typer(profile.profiles, name="profile")
    made.add_typer(profile.app)
    made.add_typer(models.starters, name="models")
    made.add_typer(models.app)
    made.add_typer(upscale.app)
    made.add_typer(monitor.app)
    made.add_typer(serve.app)
    made.add_typer(demo.app)
    made.add_typer(degrade.app)
    made.add_typer(metrics.app)
    made.add_typer(publish.app)
    made.add_typer(release.app)
    made.add_typer(ci.app)
    made.add_typer(speedrun.app)
    made.add_typer(finetune.app)
    made.add_typer(study.app, name="study")
    made.add_typer(tune.app, name="tune")
    return made


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"srgan {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error. Any command takes this option.")] = False,
) -> None:
    """Take the options that stand before the command."""


def _prepare_process(debug: bool) -> None:
    machine.limit_threads()
    gc.set_threshold(10_000)  # the imports of torch and MLflow make many objects that stay: collections took 0.8 s of 5.7 s
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an orderly end removes temporary files and helper processes
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.INFO if debug else logging.ERROR)


def _printable(text: str) -> str:
    """Return text that is safe for a terminal: without passwords and tokens of addresses and without control characters of file names."""
    return UNSAFE.sub(lambda found: f"\\x{ord(found[0]):02x}", without_secrets(text))


class _Formatter(logging.Formatter):
    """Make log lines printable, those of libraries too."""

    def format(self, record: logging.LogRecord) -> str:
        return _printable(super().format(record))


def _explain(error: OSError) -> str:
    """Return the message for an error of the file system, with its remedy."""
    name = error.filename
    advice = "check that it may be written and that the disk has room"
    if error.errno in files.DISK_FULL:
        name = error.filename2 or name  # the target of a copy
        free = files.free_space(name or ".")
        advice = f"its disk has {free / 1e6:,.0f} MB free; make room, then run the same command again"
    # Files are written under a temporary name, such as .raw.host-0123456789ab.tmp for raw. Users know the final name.
    place = files.final_name(f"{name}: ") if name else ""
    return f"{place}{error.strerror or error}; {advice}"


def _fail(command: str, debug: bool, message: str, code: int = 1) -> NoReturn:
    if debug:
        print(_printable(traceback.format_exc()), file=sys.stderr, end="")
    print(f"srgan {command}: error: {_printable(message)}", file=sys.stderr, flush=True)
    if launch.is_distributed_worker():
        os._exit(code)  # an orderly end of the interpreter would wait for the processes that train with this one
    sys.exit(code)
