"""Remove user, password and query from addresses. A query may hold a token."""

import re

# A raw `/` in a password ends the host early. The text after the colon is then no port, and all up to the `@` is removed.
_USER = r"(?:[^/?#\s@]*@|[^/?#\s@:\[]+:(?!\d*(?:[/?#\s]|$))[^\s@]*@)+"
_END = r"(?=[;,.:)\]}'\"]*(?:\s|$))"  # punctuation of the sentence around it
_ADDRESS = re.compile(rf"(\b[A-Za-z][A-Za-z0-9+.-]*://)(?:{_USER})?([^?#\s]*)(?:\?\S*?{_END})?")
_PATH = re.compile(rf"(\burl: /[^?\s]*)\?\S*?{_END}")  # urllib3's notation without the host


def without_secrets(text: str) -> str:
    """Return `text` with every address in it reduced to scheme, host, port, path and fragment.

    Use it for all text that leaves the process, such as messages, logs and MLflow's parameters.
    """
    return _PATH.sub(r"\1", _ADDRESS.sub(r"\1\2", text))
