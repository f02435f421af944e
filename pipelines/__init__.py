"""Prefect flows over the DVC stages. The only folder that imports Prefect.

Prefect reads its settings when it is imported; those that suit this project are set here, before, and yield to the user's own.
"""

import os
import sys

from pipelines.infra import password
from srgan.utils.errors import SrganError

for _name, _value in {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # its temporary server takes more than the usual 20 where cores are few
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",  # it need not report home, nor complain where there is no network
    "PREFECT_LOGGING_EXTRA_LOGGERS": "srgan",  # the log of the run shows messages of the library
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # also from threads of its own, which no run belongs to
}.items():
    os.environ.setdefault(_name, _value)

if "PREFECT_API_AUTH_STRING" not in os.environ:
    try:
        _found = password.of(os.environ.get("PREFECT_API_URL"))
    except SrganError as error:  # Prefect, too, needs this file when it is imported
        sys.exit(f"error: {error}")
    if _found:
        os.environ["PREFECT_API_AUTH_STRING"] = _found
