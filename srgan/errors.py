"""The one exception that is meant for the person at the keyboard."""


class SrganError(Exception):
    """Something the user can mend. The message says what is wrong, where, and what to do next.

    The command line prints it as one line, without a traceback (``--debug`` shows that too).
    """
