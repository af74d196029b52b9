"""Where a run stands: the epoch, the step, and what a state says of them. Knows only the plan."""

from dataclasses import replace
from operator import index
from typing import Any

import torch.distributed

from fastload.plan import Plan

STATE_VERSION = 1


class Position:
    """The epoch and step that the next batch comes from.

    An iteration takes a turn; only the newest one moves the position. So several iterations may be
    alive, and one that was left behind changes nothing.

    Attributes:
        epoch: that the present or next iteration is in.
        step: how many of its batches were delivered.
        started: whether an iteration of this epoch has begun.
    """

    def __init__(self, plan: Plan, follows_group: bool) -> None:
        """`follows_group`: rank and world size are torch.distributed's, as soon as it has any."""
        self._plan, self._follows_group = plan, follows_group
        self.epoch = self.step = 0
        self.started = False
        self._turn = 0
        self._loaded = False
        self._done: tuple[int, int] | None = None

    @property
    def plan(self) -> Plan:
        """The order as this rank sees it."""
        if self._follows_group and has_group():
            rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
            if (rank, world_size) != (self._plan.rank, self._plan.world_size):
                self._plan = replace(self._plan, rank=rank, world_size=world_size)
        return self._plan

    def deal_in_blocks(self, blocks: bool) -> None:
        """How a last step that was filled up is dealt, see `Plan.blocks`."""
        self._plan = replace(self._plan, blocks=blocks)

    def go(self, epoch: int, step: int = 0) -> None:
        """Put the next iteration somewhere; those under way no longer move the position."""
        self.epoch, self.step, self.started = epoch, step, False
        self._turn += 1
        self._done, self._loaded = None, False

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration. The epoch of a loaded state keeps its place, and
        of one that the state knows to be over nothing is left."""
        epoch = index(epoch)
        if self._done is not None and self._done[0] == epoch:
            self.go(*self._done)
        elif epoch != self.epoch or self.started:
            self.go(epoch)

    def falls_behind(self, epoch: int) -> bool:
        """Whether an epoch lies before that of a state that was loaded and not gone on with."""
        done = self._done is not None and self._done[0] == epoch
        return self._loaded and not self.started and epoch < self.epoch and not done

    def begin(self) -> int:
        """Start an iteration, in the epoch after the last one begun unless told; its turn."""
        if self.started:
            self.epoch, self.step = self.epoch + 1, 0
        self.started, self._done = True, None
        self._turn += 1
        return self._turn

    def stand_in(self) -> int:
        """Start an iteration of someone else's through the present epoch, from its start and in the
        loader's place; its turn."""
        self.step, self.started, self._done = 0, True, None
        self._turn += 1
        return self._turn

    def delivered(self, turn: int, step: int) -> None:
        """So many batches of the epoch were delivered by the iteration of a turn."""
        if turn == self._turn:
            self.step = step

    def ended(self, turn: int, epoch: int) -> None:
        """The iteration of a turn has delivered all of an epoch."""
        if turn == self._turn:
            self.go(epoch + 1)

    # State

    def state(self) -> dict[str, Any]:
        """Version, epoch and step, plain numbers.

        After the last batch of an epoch that is its end, of which nothing is left, until the
        iteration has ended; then it is the start of the next epoch.
        """
        return {"version": STATE_VERSION, "epoch": self.epoch, "step": self.step}

    def load(self, state: dict[str, Any], fingerprint: dict[str, Any], length: int | None) -> None:
        """Stand where a state says.

        Args:
            state: of `state`, with the fingerprint of its loader.
            fingerprint: what the order depends on, here.
            length: the number of steps in an epoch, if known.

        Raises:
            ValueError: names the field in which the state and this loader differ.
        """
        for name, mine in ({"version": STATE_VERSION} | fingerprint).items():
            if state.get(name) != mine:
                raise ValueError(
                    f"the state's {name} is {state.get(name)!r}, but this loader's is {mine!r}"
                )
        epoch, step = state.get("epoch"), state.get("step")
        if not isinstance(epoch, int) or not isinstance(step, int) or epoch < 0:
            raise ValueError(
                f"the state's epoch and step must be whole numbers, got {epoch!r} and {step!r}"
            )
        if step < 0 or (length is not None and step > length):
            raise ValueError(f"the state's step is {step}, but an epoch has {length} steps")
        self.go(epoch, step)
        self._loaded = True
        if step == 0 and epoch > 0 and length is not None:
            self._done = epoch - 1, length


def has_group() -> bool:
    """Whether torch.distributed has a process group."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()
