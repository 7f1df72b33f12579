"""The one exception that means the user can mend it."""


class SharingError(ValueError):
    """A repository or a remote that cannot be checked; the text is the whole message."""
