"""Exceptions that mean the user can mend it."""


class StudyError(ValueError):
    """Something about a study, or the repository it runs in, that cannot work; the text is the whole message."""


class NotFiniteError(StudyError):
    """A figure that is there, but NaN or infinite: what diverging settings give."""
