"""The error of a run that cannot start."""


class SetupError(ValueError):
    """A run was asked for that cannot be. The message is a sentence for the user, printed as is."""
