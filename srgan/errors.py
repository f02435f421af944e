"""The exceptions that are meant for the person at the keyboard."""


class SrganError(Exception):
    """Something the user can mend. The message says what is wrong, where, and what to do next.

    The command line prints it as one line, without a traceback (``--debug`` shows that too).
    """


class LostOthers(SrganError):
    """The processes that train with this one are gone, or cannot be reached: the fault is theirs, and worth another try."""

    EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h
