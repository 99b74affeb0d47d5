"""The one error that a user can mend."""


class UserError(Exception):
    """A fault whose message is one sentence: the thing, its value and the mend.

    The command line prints it on stderr and exits with 2; the endpoint turns it into a problem document.
    """


def one_line(error: BaseException, longest: int = 200) -> str:
    """What an error of another library says, fit for the middle of a sentence."""
    return " ".join(str(error).split())[:longest].rstrip(".") or type(error).__name__


class NotWritten(UserError):
    """The disk, or a bucket, refuses a file. What was there before is whole: the work can go on once that is mended."""


class StoreRefused(UserError):
    """MLflow's store, or the one of its files, refuses. What was reached is kept, so the work can go on later."""


class Overtaken(UserError):
    """Another process drives the study now. To wait for the database changes nothing, and what runs is the other's."""


class JudgesRefused(UserError):
    """A judge reads real faces no better than chance, so its figures would say nothing."""
