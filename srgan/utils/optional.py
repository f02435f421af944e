"""Optional packages that several rooms check."""

import importlib.util

from srgan.utils.errors import SrganError


def require_ray() -> None:
    """Check that Ray is installed.

    Raises:
        SrganError: it is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise SrganError("engine ray: needs the package ray. Install it with: pip install 'srgan[ray]'")
