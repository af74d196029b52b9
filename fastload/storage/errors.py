"""What can be wrong with bytes, said in one sentence."""


class DataError(RuntimeError):
    """A shard holds something that cannot be read as pixels.

    Attributes:
        shard: path of the shard.
        member: name inside it, as far as known.
        offset: byte offset in the shard, or -1 where the fault has no place.
        reason: what was expected and what was found.
    """

    def __init__(self, shard: str, member: str, offset: int, reason: str) -> None:
        self.shard, self.member, self.offset, self.reason = shard, member, offset, reason
        at = f" at byte {offset}" if offset >= 0 else ""
        inside = f", member {member}" if member else ""
        super().__init__(f"{shard}{inside}{at}: {reason}")

    def __reduce__(self) -> tuple[type["DataError"], tuple[str, str, int, str]]:
        return DataError, (self.shard, self.member, self.offset, self.reason)
