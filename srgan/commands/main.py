"""The `srgan` command: one subcommand a DVC stage, and what people do with the result."""

import argparse
import gc
import logging
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from functools import partial
from pathlib import Path
from typing import Any

from srgan import __version__, stages
from srgan.config import profiles, recorded, schema
from srgan.data.download import describe
from srgan.distributed import launch
from srgan.utils import files, machine
from srgan.utils.addresses import without_secrets
from srgan.utils.errors import SrganError

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
UPSCALE_EPILOG = """\
examples:
  srgan upscale photo.jpg -o big.png
  srgan upscale holiday/ -o large/ --format webp
  srgan upscale 'scans/**/*.tif' -o large/ --outscale 2.5
  srgan upscale - -o - < photo.jpg > big.png
"""
PROVIDERS = ("auto", "cuda", "tensorrt", "openvino", "cpu")  # srgan.inference.backends', not imported for every command's sake
FORMATS = ("png", "jpg", "webp", "tif", "avif")  # what may follow the dot
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # all but tabs and line ends

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> None:
    """Run the command; exits with 0, 1, 69 or 75 (an error, told in one line), 2 (usage), 130 (Ctrl-C) or 143 (SIGTERM)."""
    options = _parser().parse_args(arguments)
    machine.limit_threads()
    gc.set_threshold(10_000)  # to import torch and MLflow makes objects that stay; looking through them for garbage took 0.8 s of 5.7 s
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an orderly end: temporary files go, helper processes too
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.INFO if options.debug else logging.ERROR)
    try:
        options.run(options)
    except SrganError as error:
        _fail(options, str(error), error.EXIT_CODE)
    except OSError as error:
        name = error.filename
        advice = "check that it may be written and that the disk has room"
        if error.errno in files.FULL:
            name = error.filename2 or name  # where a file is copied to
            free = files.free_space(name or ".")
            advice = f"its disk has {free / 1e6:,.0f} MB free; make room, then run the same command again"
        # Files are written under a temporary name, such as .raw.host-0123456789ab.tmp for raw; users know the other.
        place = files.final_name(f"{name}: ") if name else ""
        _fail(options, f"{place}{error.strerror or error}; {advice}")
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if "home directory" in str(error) or "getpwuid" in str(error):  # Python's words; MLflow asks while it is imported
            _fail(options, "this user has no home folder, which a library needs; set HOME to a folder that may be written")
        _fail(options, f"internal error: {type(error).__name__}: {error}; this is a bug, run again with --debug and report it")
    except BaseException as error:
        # That is srgan.training.trainer.Interrupted; imported by name it would bring torch along with every command.
        signum = getattr(error, "signum", None)
        if signum is None:
            raise
        if launch.speaks():
            print(f"srgan: {error}; the same command goes on from the checkpoint", file=sys.stderr)
        sys.exit(128 + signum)


def _shown(text: str) -> str:
    """What a terminal may get: no passwords and tokens of addresses, no control characters of strangers' file names."""
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", without_secrets(text))


class _Formatter(logging.Formatter):
    """For what libraries log, too."""

    def format(self, record: logging.LogRecord) -> str:
        return _shown(super().format(record))


def _fail(options: argparse.Namespace, message: str, code: int = 1) -> None:
    if options.debug:
        print(_shown(traceback.format_exc()), file=sys.stderr, end="")
    print(f"srgan {options.command}: error: {_shown(message)}", file=sys.stderr, flush=True)
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
    for add in (_add_stages, _add_data, _add_profiles, _add_tools, _add_models):
        add(commands, common, staged)
    _add_upscale(commands, common)
    return parser


def _add_stages(commands: Any, common: argparse.ArgumentParser, staged: argparse.ArgumentParser) -> None:
    for name, function in (stages.STAGES | {"sync": stages.sync}).items():
        text = _first_sentence(function)
        command = commands.add_parser(name, help=text, description=text, parents=[common, staged])
        command.set_defaults(run=_run_stage, function=function)
        if name == "export":
            command.add_argument("checkpoint", nargs="?", type=Path, help="weights to export instead of the pipeline's: .safetensors, .pth")
            command.add_argument("-o", "--output", type=Path, help="of a checkpoint (default: beside it)")
            command.add_argument("--name", default="", help="of a checkpoint's model (default: the file's)")
            command.add_argument("--license", default="", help="of a checkpoint's weights")
            command.add_argument("--plain", action="store_true", help="of a checkpoint: leave the graph as the network is written")
            command.set_defaults(run=_export)
        if name in ("pretrain", "train"):
            command.add_argument(
                "--continue",
                dest="state",
                nargs="?",
                const="",
                metavar="STATE",
                help="do not train, but let the parameter file name the state (default: the last one) that the training goes on from, with "
                "more steps, another rate or schedule; prints what changes",
            )
        if name == "prepare":
            command.add_argument("--processes", type=_positive, help="that work at once (default: SRGAN_PROCESSES or one a core)")


def _add_data(commands: Any, common: argparse.ArgumentParser, staged: argparse.ArgumentParser) -> None:
    text = "What there is to train on and to score with"
    data = commands.add_parser("data", help=text, description=text)
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")
    action = actions.add_parser("list", help="the catalogue, a line for each entry", parents=[common])
    action.set_defaults(run=lambda _: print(describe.listing()))
    action = actions.add_parser("show", help="everything about an entry: files, checksums, terms, citation", parents=[common])
    action.add_argument("name", help="of a data set or of weights")
    action.set_defaults(run=lambda options: print(describe.shown(options.name)))
    action = actions.add_parser("licence", help="terms and citations of data sets", parents=[common, staged])
    action.add_argument("names", nargs="*", metavar="name", help="(default: those that the parameter file names)")
    action.set_defaults(run=lambda options: print(describe.licences(options.names or _named(options.params))))


def _add_profiles(commands: Any, common: argparse.ArgumentParser, staged: argparse.ArgumentParser) -> None:
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


def _add_tools(commands: Any, common: argparse.ArgumentParser, staged: argparse.ArgumentParser) -> None:
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


def _add_models(commands: Any, common: argparse.ArgumentParser, staged: argparse.ArgumentParser) -> None:
    text = "Make the challenger the champion, if its scores allow"
    command = commands.add_parser("promote", help=text, description=f"{text}; exits with 3 if they do not.", parents=[common, staged])
    command.add_argument("--dry-run", action="store_true", help="decide, but change nothing")
    command.add_argument("--force", action="store_true", help="whatever the scores say; needs --reason")
    command.add_argument("--reason", default="", help="why, for whoever asks later")
    command.set_defaults(run=_promote)
    text = "Make the champion before this one the champion again"
    command = commands.add_parser("rollback", help=text, description=text, parents=[common, staged])
    command.add_argument("--reason", default="", help="why, for whoever asks later")
    command.set_defaults(run=_rollback)

    text = "Mix the weights of two generators of one network, such as pretrained and GAN"
    command = commands.add_parser("interpolate", help=text, description=text, parents=[common])
    command.add_argument("first", type=Path, help="weights: .safetensors, .pth")
    command.add_argument("second", type=Path, help="weights of the same network")
    command.add_argument("--alpha", type=_share, required=True, help="share of the second, 0..1")
    command.add_argument("-o", "--output", type=Path, required=True, help="a .safetensors file")
    command.set_defaults(run=_interpolate)


def _add_upscale(commands: Any, common: argparse.ArgumentParser) -> None:
    text = "Enlarge photographs with an exported model"
    command = commands.add_parser(
        "upscale",
        help=text,
        description=f"{text}. Colour profile, EXIF, XMP, IPTC, PNG text, resolution, transparency, greyscale and 16 bits are kept; "
        "a warning names what the format does not hold.",
        epilog=UPSCALE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
    )
    add = command.add_argument
    add(
        "input", nargs="+", metavar="INPUT", help="files, folders (with all that is in them), patterns such as 'a/**/*.jpg', or - for stdin"
    )
    add("-o", "--output", required=True, help="a file, for one photograph; else a folder; or - for stdout")
    add("--model", help="an .onnx file, or models:/NAME@ALIAS of MLflow's registry (default: the one that the stage export has written)")
    add("--provider", default="auto", choices=PROVIDERS, help="what runs the model (default: CUDA where it works, else the CPU)")
    add("--strict-provider", action="store_true", help="fail where the provider does not work, instead of taking the next best")
    add("--tile", type=_positive, help="side of the squares the model sees, in pixels (default: what free memory allows)")
    add("--outscale", type=_factor, help="size of the result / size of the photograph, such as 2.5: the model, then Lanczos")
    add("--format", choices=FORMATS, help="suffix of results in a folder or on stdout (default: the photograph's; png)")
    add("--quality", type=_quality, default=95, help="1..100, of JPEG, WebP and AVIF (default: %(default)s)")
    add("--lossless", action="store_true", help="WebP and AVIF without loss")
    add("--overwrite", action="store_true", help="in a folder, make results anew that are there already")
    add("--no-provenance", action="store_true", help="do not say in the picture's XMP which model enlarged it")
    command.set_defaults(run=_upscale)


def _factor(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 64:
        raise argparse.ArgumentTypeError(f"needs a number above 0 and at most 64, not '{text}'")
    return value


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"needs a number from 0 to 1, not '{text}'")
    return value


def _quality(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"needs a whole number from 1 to 100, not '{text}'")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"needs a whole number of at least 1, not '{text}'")
    return int(text)


def _named(path: Path) -> list[str]:
    data = schema.load(path).data
    places = [entry.folder if isinstance(entry, schema.OwnSet) else entry for entry in (*data.train, *data.test)]
    return list(dict.fromkeys(places))


def _first_sentence(function: object) -> str:
    return (function.__doc__ or "").split("\n")[0].rstrip(".").replace("``", "")


def _run_stage(options: argparse.Namespace) -> None:
    if options.command in ("prepare", "pretrain", "train"):
        machine.keep_freed_memory()
    loaded = schema.load(options.params)
    if getattr(options, "state", None) is not None:
        print(stages.go_on(loaded, options.params, options.command, options.state))
        return
    if "DVC_STAGE" in os.environ:
        recorded.require_recorded(options.params)
    unedited = partial(recorded.refuse_edits, loaded, options.params, options.command)
    if options.command in ("pretrain", "train"):
        processes = getattr(loaded, options.command).nproc_per_node
        if processes > 1 and not launch.is_worker():
            sys.exit(launch.together(processes))
        options.function(loaded, unedited)
        return
    if options.command == "prepare":
        options.function(loaded, options.processes)
    else:
        options.function(loaded)
    unedited()


def _export(options: argparse.Namespace) -> None:
    if options.checkpoint:
        from srgan.export import checkpoints

        checkpoints.export_checkpoint(options.checkpoint, options.output, options.name, options.license, options.plain)
        return
    of_checkpoints = [name for name in ("output", "name", "license", "plain") if getattr(options, name)]
    if of_checkpoints:
        raise SrganError(f"--{of_checkpoints[0]} is for a checkpoint; for the pipeline it is set in {options.params}, under export")
    _run_stage(options)


def _interpolate(options: argparse.Namespace) -> None:
    from srgan.export import checkpoints

    if options.output.suffix != ".safetensors":
        raise SrganError(f"{options.output}: weights are written as .safetensors")
    checkpoints.interpolate(options.first, options.second, options.alpha, options.output)


def _plan(options: argparse.Namespace) -> None:
    machine.keep_freed_memory()
    from srgan.data.left_out import downloaded
    from srgan.tuning import disk_space, estimate

    chosen = {name: profiles.load(name) for name in (profiles.names() if options.all else options.profiles)}
    for name, loaded in (chosen or {str(options.params): schema.load(options.params)}).items():
        print(f"{name}:")
        if not chosen and (data := downloaded(stages.RAW)):
            print(f"  {data}")
        print(f"  {disk_space.plan(loaded, stages.RAW)}", flush=True)
        for stage in ("pretrain", "train"):
            print(f"  {estimate.plan(loaded, stage)}", flush=True)


def _compare(options: argparse.Namespace) -> None:
    from srgan.tracking import compare

    compare.compare(schema.load(options.params), options.runs, options.output, options.set)


def _promote(options: argparse.Namespace) -> None:
    if options.force != bool(options.reason):
        raise SrganError("--force and --reason go together: whoever overrules the scores says why")
    from srgan.tracking import promotion

    decision = promotion.promote(schema.load(options.params), options.dry_run, options.reason)
    for check in decision.checks:
        print(f"  {'holds ' if check.passed else 'BROKEN'}  {check.name}: {check.found} (wanted: {check.wanted})")
    before = f"version {decision.champion}" if decision.champion else "none"
    dry = " (dry run)" if options.dry_run else ""
    print(f"{decision.model}: version {decision.challenger}, champion before: {before}: {decision.verdict}{dry}\n  {decision.reason}")
    if decision.verdict == "held":
        sys.exit(3)


def _rollback(options: argparse.Namespace) -> None:
    from srgan.tracking import promotion

    former, restored = promotion.rollback(schema.load(options.params), options.reason)
    print(f"version {restored} is the champion again, {f'version {former} no longer' if former else 'where there was none'}")


def _upscale(options: argparse.Namespace) -> None:
    from srgan.inference import batch
    from srgan.inference.photo import Options
    from srgan.inference.upscaler import Upscaler

    settings = Options(options.outscale, options.quality, options.lossless, not options.no_provenance)
    suffix = f".{options.format}" if options.format else None
    one = _one_file(options.input, options.output)
    if one and suffix and options.output != "-":
        _check_format(options.output, suffix)
    jobs = [] if one else batch.plan(options.input, options.output, suffix)  # a wrong name shows before the model is loaded
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or stages.last_export()
        if str(model).startswith("models:/"):
            from srgan.tracking import registry

            model = registry.download(str(model), Path(folder))
        upscaler = Upscaler(model, options.provider, options.strict_provider, options.tile)
        log.info("x%d by %s on %s", upscaler.scale, upscaler.path.name, upscaler.provider)
        if one:
            batch.run_one(upscaler, options.input[0], options.output, settings, suffix or ".png")
            return
        failures = batch.run(upscaler, jobs, settings, options.overwrite)
    if failures:
        raise SrganError("\n  ".join([f"{len(failures)} of {len(jobs)} images failed:", *failures]))


def _one_file(inputs: list[str], output: str) -> bool:
    """Whether one photograph goes to one file, or through a pipe."""
    if "-" in (*inputs, output):
        if len(inputs) > 1 or (inputs[0] != "-" and (not Path(inputs[0]).exists() or Path(inputs[0]).is_dir())):
            raise SrganError("-: a pipe carries one photograph; name one file, or a folder for the results")
        return True
    folder = output.endswith(("/", os.sep)) or Path(output).is_dir() or not Path(output).suffix
    # A pipe, such as bash makes of <(command), is a photograph as well.
    return len(inputs) == 1 and Path(inputs[0]).exists() and not Path(inputs[0]).is_dir() and not folder


def _check_format(output: str, suffix: str) -> None:
    from srgan.inference.photo import FORMATS

    own = Path(output).suffix
    if own.lower() in FORMATS and FORMATS[own.lower()] != FORMATS[suffix]:
        named = Path(output).with_suffix(suffix)
        raise SrganError(f"-o {output} and --format {suffix[1:]} contradict each other; leave out --format, or write -o {named}")
