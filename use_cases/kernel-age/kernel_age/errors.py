"""The one error that a user of this app is meant to read."""


class InputError(ValueError):
    """Data or messages that cannot be used; one sentence that says what is wrong and how to mend it.

    It names files, columns, nodes and counts, never a sample, a patient or one of their values.
    """
