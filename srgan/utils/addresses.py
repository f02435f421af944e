"""Addresses as they may be shown: the user, the password and the query stay secret, for a query may hold a token."""

import re

# A password with a raw `/` ends the host early: what follows the colon is then no port, and everything up to the `@` is hidden.
_USER = r"(?:[^/?#\s@]*@|[^/?#\s@:\[]+:(?!\d*(?:[/?#\s]|$))[^\s@]*@)+"
_END = r"(?=[;,.:)\]}'\"]*(?:\s|$))"  # punctuation of the sentence around it
_ADDRESS = re.compile(rf"(\b[A-Za-z][A-Za-z0-9+.-]*://)(?:{_USER})?([^?#\s]*)(?:\?\S*?{_END})?")
_PATH = re.compile(rf"(\burl: /[^?\s]*)\?\S*?{_END}")  # as urllib3 puts it, without the host


def without_secrets(text: str) -> str:
    """Return `text` with every address in it reduced to scheme, host, port, path and fragment.

    Use it for all that leaves the process: messages, logs, names, keys of files, MLflow's parameters.
    """
    return _PATH.sub(r"\1", _ADDRESS.sub(r"\1\2", text))
