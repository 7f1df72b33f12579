"""The one exception that means the user can mend it."""


class StudyError(ValueError):
    """Something about a study, or the repository it runs in, that cannot work; the text is the whole message."""
