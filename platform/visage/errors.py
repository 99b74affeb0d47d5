"""The one error that a user can mend."""


class UserError(Exception):
    """A fault whose message is one sentence: the thing, its value and the mend.

    The command line prints it on stderr and exits with 2; the endpoint turns it into a problem document.
    """
