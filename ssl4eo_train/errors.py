"""The errors of a run that are sentences for the user, printed as they are."""


class SetupError(ValueError):
    """A run was asked for that cannot be."""


class PeerError(RuntimeError):
    """Another process of the run has ended, or met an error; its own output says why."""
