"""What a claim is, and how one fails."""

from dataclasses import dataclass
from typing import Callable

# Every claim, in the order of their files: filled by `claim` below.
CLAIMS = []


class DoesNotHold(Exception):
    """What was observed contradicts the claim; the text says what it was."""


@dataclass(frozen=True)
class Claim:
    """One row of the decision.

    `check(world, spoiled)` returns the figure, or raises DoesNotHold. With `spoiled` it runs under the
    setting that the text of that name describes, under which the claim has to fail."""

    name: str
    says: str
    servers: int
    spoiled: str
    check: Callable


def claim(name, says, spoiled, servers=1):
    """Makes a function `check(world, spoiled)` a claim."""
    def register(check):
        CLAIMS.append(Claim(name, says, servers, spoiled, check))
        return check

    return register


def demand(holds, otherwise):
    if not holds:
        raise DoesNotHold(otherwise)
