"""What a person can put right."""


class InputError(ValueError):
    """Data, or a command's arguments, cannot be used; the text says why and what to do.

    The text never holds a value of a patient: at a DIZ it may reach a log.
    """
