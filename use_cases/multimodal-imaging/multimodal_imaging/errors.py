"""What a person can put right."""


class InputError(ValueError):
    """Data, or a command's arguments, cannot be used; the text says why and what to do.

    The text never holds a value of a patient: at a DIZ it may reach a log.
    """


def many(count: int, one: str, more: str = "") -> str:
    """A count and its words.

    >>> many(1, "image"), many(2, "image"), many(3, "patient has", "patients have")
    ('1 image', '2 images', '3 patients have')
    """
    return f"{count} {one if count == 1 else more or one + 's'}"
