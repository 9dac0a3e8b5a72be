"""errors.py - the one exception that ends the command with one line"""

STATUS_OWN_FAILURE = 125  # as env(1) and timeout(1) have it


class Failure(Exception):
    """What went wrong, for a person, and the exit status it gives."""

    def __init__(self, message, status=STATUS_OWN_FAILURE):
        super().__init__(message)
        self.status = status
