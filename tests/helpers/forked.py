"""Runs `srgan` or `dvc`, each command in a fork of a process that has imported what it needs: its start takes most of its time.

The argument is the program. A line of JSON on its input is a request; the answer is the child's number, then its exit code, a line each.
"""

import gc
import importlib
import json
import os
import sys
import traceback

APPEND = os.O_WRONLY | os.O_APPEND  # `dvc` and the `srgan` that it calls write to one file

IMPORTED = {
    "srgan": [
        "srgan.commands.main",
        *(f"srgan.{name}" for name in ("tracking.compare", "export.onnx", "tuning.estimate", "inference.benchmark", "training.trainer")),
        # What is else imported at its first use.
        "torch._dynamo",
        "torch.onnx._internal.exporter._core",
        "onnxscript",
        "matplotlib.backends.backend_svg",
        "mlflow.onnx",
        "mlflow.store.tracking.sqlalchemy_store",
        "mlflow.store.model_registry.sqlalchemy_store",
    ],
    "dvc": [
        *(f"dvc.{name}" for name in ("cli", "cli.parser", "data_cloud", "dependency", "lock", "repo.reproduce", "rwlock", "scm")),
        *("dulwich.repo", "dvc_http", "dvc_render.vega", "ruamel.yaml", "scmrepo.git"),
    ],
}


def main() -> None:
    """Import, then serve until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    before = set(os.environ)

    program = sys.argv[1]
    for module in IMPORTED[program]:
        importlib.import_module(module)
    command = sys.modules["srgan.commands.main" if program == "srgan" else "dvc.cli"].main
    gc.freeze()  # a collection in a child would write to, and so copy, all that is imported here
    set_by_imports = {name: value for name, value in os.environ.items() if name not in before}
    for line in sys.stdin:
        request = json.loads(line)
        request["env"] = set_by_imports | request["env"]
        child = os.fork()
        if not child:
            serve(command, program, request)
        print(child, file=answers, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)


def serve(command, program, request) -> None:
    """Be the command."""
    code = 1
    try:
        for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, request["out"], APPEND), (2, request["err"], APPEND)):
            os.dup2(os.open(path, flags), number)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        sys.argv = [program, *request["arguments"]]
        code = command(request["arguments"]) or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
