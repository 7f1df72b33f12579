"""The one exception that means the user can mend it: its text is the whole message, one line for each mistake."""


class InputError(ValueError):
    """Something given to tonesift cannot work: a parameter, a file, a recording.

    The text names the thing, the value found and the rule; the stages print it without a traceback and exit with 1.
    """
