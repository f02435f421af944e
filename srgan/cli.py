"""The `srgan` command: one subcommand a DVC stage, and what people do with the result."""

import argparse
import logging
import os
import re
import signal
import sys
import threading
import traceback
from pathlib import Path

from srgan import __version__, launch, listing, params, profiles, stages
from srgan.errors import LostOthers, SrganError

EPILOG = """\
The stages, in order; `dvc repro` runs those whose inputs changed:
  download  prepare  pretrain  train  export  evaluate  report  register

A first round:
  dvc repro                            # train, score, export and register
  open reports/report.html             # is it any good?
  srgan upscale photo.jpg -o big.png   # use it

Before a long training:
  srgan profile use srgan-div2k        # the paper's settings
  srgan plan                           # what they take in memory and time on this machine
"""


def main(arguments: list[str] | None = None) -> None:
    """Run the command; exits with 0, 1 (an error, told in one line), 2 (usage), 75 (`LostOthers`), 130 (Ctrl-C) or 143 (SIGTERM)."""
    options = _parser().parse_args(arguments)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an orderly end: temporary files go, helper processes too
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.INFO if options.debug else logging.ERROR)
    try:
        options.run(options)
    except LostOthers as error:
        _fail(options, str(error), LostOthers.EXIT_CODE)
    except SrganError as error:
        _fail(options, str(error))
    except OSError as error:
        # Files are written under a temporary name, such as .raw.4711.tmp for raw; people know the other.
        place = re.sub(r"\.([^/\\]+)\.\d+\.tmp", r"\1", f"{error.filename}: " if error.filename else "")
        _fail(options, f"{place}{error.strerror or error}; check that it may be written and that the disk has room")
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        _fail(options, f"internal error: {type(error).__name__}: {error}; this is a bug, run again with --debug and report it")
    except BaseException as error:
        # That is srgan.training.trainer.Interrupted; imported by name it would bring torch along with every command.
        signum = getattr(error, "signum", None)
        if signum is None:
            raise
        if launch.speaks():
            print(f"srgan: {error}; the same command goes on from the checkpoint", file=sys.stderr)
        sys.exit(128 + signum)


def _fail(options: argparse.Namespace, message: str, code: int = 1) -> None:
    if options.debug:
        traceback.print_exc()
    print(f"srgan {options.command}: error: {message}", file=sys.stderr, flush=True)
    if launch.is_worker():
        os._exit(code)  # an orderly end of the interpreter would wait for the processes that train with this one
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    staged = argparse.ArgumentParser(add_help=False)
    staged.add_argument("--params", type=Path, default=Path("params.yaml"), help="parameter file (default: %(default)s)")

    parser = argparse.ArgumentParser(
        prog="srgan",
        description="Train, score and ship image super-resolution GANs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"srgan {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, function in (stages.STAGES | {"sync": stages.sync}).items():
        text = _first_sentence(function)
        command = commands.add_parser(name, help=text, description=text, parents=[common, staged])
        command.set_defaults(run=_run_stage, function=function)
        if name == "prepare":
            command.add_argument("--processes", type=_positive, help="that work at once (default: one for each core)")

    text = "What there is to train on and to score with"
    data = commands.add_parser("data", help=text, description=text)
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")
    action = actions.add_parser("list", help="the catalogue, a line for each entry", parents=[common])
    action.set_defaults(run=lambda _: print(listing.listing()))
    action = actions.add_parser("show", help="everything about an entry: files, checksums, terms, citation", parents=[common])
    action.add_argument("name", help="of a data set or of weights")
    action.set_defaults(run=lambda options: print(listing.shown(options.name)))
    action = actions.add_parser("licence", help="terms and citations of data sets", parents=[common, staged])
    action.add_argument("names", nargs="*", metavar="name", help="(default: those that the parameter file names)")
    action.set_defaults(run=lambda options: print(listing.licences(options.names or _named(options.params))))

    text = "Ready-made parameter files, from the demo to the papers' settings"
    profile = commands.add_parser("profile", help=text, description=text)
    actions = profile.add_subparsers(dest="action", required=True, metavar="ACTION")
    action = actions.add_parser("list", help="what there is, and what it costs", parents=[common])
    action.set_defaults(run=lambda _: print(profiles.listing()))
    action = actions.add_parser("diff", help="what a profile would change", parents=[common, staged])
    action.add_argument("name")
    action.set_defaults(run=lambda options: print(profiles.difference(options.name, options.params)))
    action = actions.add_parser("use", help="write the profile as the parameter file", parents=[common, staged])
    action.add_argument("name")
    action.set_defaults(run=lambda options: print(profiles.use(options.name, options.params)))

    text = "What the training takes in memory and time, measured with a few steps on random pixels"
    command = commands.add_parser("plan", help=text, description=text, parents=[common, staged])
    command.add_argument("profiles", nargs="*", metavar="profile", help="(default: the parameter file)")
    command.add_argument("--all", action="store_true", help="all profiles")
    command.set_defaults(run=_plan)

    text = "Lay several trainings side by side: scores, pictures and settings on one page"
    command = commands.add_parser("compare", help=text, description=text, parents=[common, staged])
    command.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="workspace, a git revision or DVC experiment, an MLflow run's name or id, models:/NAME@ALIAS, an .onnx file",
    )
    command.add_argument("-o", "--output", type=Path, default=stages.REPORTS / "compare.html", help="the page (default: %(default)s)")
    command.add_argument("--set", help="score on this set alone (default: all test images)")
    command.set_defaults(run=_compare)

    text = "Enlarge a photograph with an exported model"
    command = commands.add_parser("upscale", help=text, description=text, parents=[common])
    command.add_argument("input", type=Path, help="the photograph")
    command.add_argument("-o", "--output", type=Path, required=True, help="where the result goes; its suffix chooses the format")
    command.add_argument("--model", type=Path, help="an .onnx file (default: the newest in models/)")
    command.set_defaults(run=_upscale)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"needs a whole number of at least 1, not '{text}'")
    return int(text)


def _named(path: Path) -> list[str]:
    data = params.load(path).data
    return list(dict.fromkeys((*data.train, *data.test)))


def _first_sentence(function: object) -> str:
    return (function.__doc__ or "").split("\n")[0].rstrip(".").replace("``", "")


def _run_stage(options: argparse.Namespace) -> None:
    if options.command in ("prepare", "pretrain", "train"):
        launch.restart_with_malloc()
    loaded = params.load(options.params)
    if options.command == "prepare":
        options.function(loaded, options.processes)
        return
    training = getattr(loaded, options.command, None) if options.command in ("pretrain", "train") else None
    if training and training.nproc_per_node > 1 and not launch.is_worker():
        sys.exit(launch.together(training.nproc_per_node))
    options.function(loaded)


def _plan(options: argparse.Namespace) -> None:
    launch.restart_with_malloc()
    from srgan import planning

    chosen = {name: profiles.load(name) for name in (profiles.names() if options.all else options.profiles)}
    for name, loaded in (chosen or {str(options.params): params.load(options.params)}).items():
        print(f"{name}:")
        for stage in ("pretrain", "train"):
            print(f"  {planning.plan(loaded, stage)}", flush=True)


def _compare(options: argparse.Namespace) -> None:
    from srgan import comparison

    comparison.compare(params.load(options.params), options.runs, options.output, options.set)


def _upscale(options: argparse.Namespace) -> None:
    from srgan.inference import Upscaler

    upscaler = Upscaler(options.model or stages.last_export())
    upscaler.upscale_file(options.input, options.output)
    print(f"{options.output}: x{upscaler.scale} by {upscaler.path.name} on {upscaler.provider}", file=sys.stderr)
