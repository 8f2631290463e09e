"""The one error that a user of this app is meant to read."""


class InputError(ValueError):
    """Data or arguments that cannot be used; the text is one sentence that says what is wrong and how to mend it.

    It names files, columns and counts, never a patient or one of their values.
    """
