"""The one kind of error that a user is expected to meet."""


class LabserveError(Exception):
    """An expected mistake, told in one line: what is wrong, and what to do.

    The command line prints the line and exits with 1; a notebook shows the line in place of a traceback, and the
    cell still counts as failed.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback."""
        return [str(self)]
