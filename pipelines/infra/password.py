"""Store the password of this user's own Prefect server (``make prefect``).

Prefect's API runs commands for its users, so the server asks for a password. The Prefect profile `srgan-local` holds it together with the
server's address. `prefect --profile srgan-local ...` and ``export PREFECT_PROFILE=srgan-local`` use both.
"""

import os
import secrets
import tomllib
from pathlib import Path
from typing import Any

import toml

from srgan.utils import files
from srgan.utils.errors import SrganError

PROFILE = "srgan-local"
ADDRESS, PASSWORD = "PREFECT_API_URL", "PREFECT_API_AUTH_STRING"


def file() -> Path:
    """Return the path of Prefect's file of profiles."""
    home = os.environ.get("PREFECT_HOME") or "~/.prefect"
    return Path(os.environ.get("PREFECT_PROFILES_PATH") or f"{home}/profiles.toml").expanduser()


def stored() -> str | None:
    """Return the password, or None before the first start of the server."""
    return _profile().get(PASSWORD)


def of(address: str | None) -> str | None:
    """Return the password of the server at an address such as http://127.0.0.1:4200/api, or None for another server."""
    return stored() if address and address == _profile().get(ADDRESS) else None


def keep(address: str) -> str:
    """Store the address in the profile and return the password. Create a random password if there is none."""
    profiles = _profiles()
    password = stored() or f"{PROFILE}:{secrets.token_urlsafe(24)}"
    profiles.setdefault("profiles", {})[PROFILE] = {ADDRESS: address, PASSWORD: password}
    file().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with files.atomic_file(file()) as temporary:
        temporary.touch()
        temporary.chmod(0o600)
        temporary.write_text(toml.dumps(profiles), encoding="utf-8")
    return password


def settings(password: str, origin: str) -> dict[str, str]:
    """Return Prefect's settings for the server and its clients. Only pages of `origin` can read answers of the server."""
    return {
        "PREFECT_SERVER_API_AUTH_STRING": password,
        PASSWORD: password,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": origin,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
    }


def _profile() -> dict[str, str]:
    return _profiles().get("profiles", {}).get(PROFILE, {})


def _profiles() -> dict[str, Any]:
    try:
        return tomllib.loads(file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SrganError(f"{file()}: not a valid file of Prefect's profiles ({error}). Correct it, or delete it") from error
