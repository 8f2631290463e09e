"""What may go wrong in secure aggregation."""

from flame_fl.contract.errors import InputError


class MaskError(InputError):
    """A message of the protocol is not what it should be, or would reveal more than the terms allow.

    The sentence names parties and indices only: nothing of it depends on data.
    """
