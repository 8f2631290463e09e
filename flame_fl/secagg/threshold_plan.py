"""In which order the product of a minimum-count test is multiplied.

A test multiplies r·s·(s - 1) … (s - k + 1) of shared r and s: k + 1 factors. Parties may multiply `fan` shares with
each other before they must exchange messages: the product of so many polynomials of degree t is still of degree at
most n - 1, which n shares determine. So levels of products are needed, at least log_fan(k + 1), and the last is
opened rather than shared anew.

Among the ways with fewest levels, the one with fewest shared products. Some levels make powers of s, up to s^g with g
= fan^i; then a product of g factors is a linear combination of those, which costs nothing, and a tree of products
over r and such combinations remains (baby steps and giant steps: Paterson and Stockmeyer, SIAM J. Computing 1973).
While powers are made, r may take up factors too: one product in a level, and where k + 1 is a power of `fan`, all of
them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

Group = tuple[int, ...]


@dataclass(frozen=True)
class PowerLevel:
    """A level that makes powers of s.

    Attributes:
        taken: Ranges of roots; r is multiplied by the combination that has each of them.
        groups: For each new power, in order: exponents of held powers that give it together.
    """

    taken: tuple[range, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class TreeLevel:
    """A level of the tree.

    Attributes:
        groups: Places of factors that are multiplied, r's first; a group of one is kept as it is.
    """

    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Plan:
    """An order of multiplication.

    Attributes:
        threshold: k, at least 1.
        fan: So many shares are multiplied at a time, at least 2.
        power_levels: How many levels make powers.
        taking: Whether r takes up factors meanwhile.
    """

    threshold: int
    fan: int
    power_levels: int
    taking: bool

    @cached_property
    def powers(self) -> tuple[PowerLevel, ...]:
        """The levels that make powers."""
        levels, root = [], 0
        for level in range(self.power_levels):
            top, taken = self.fan**level, tuple[range, ...]()
            if self.taking:
                taken = tuple(self._ranges(root, top))[: self.fan - 1]
                root = taken[-1].stop if taken else root
            wanted = range(top + 1, min(top * self.fan, self.threshold) + 1)
            groups = tuple((top,) * (one // top) + ((one % top,) if one % top else ()) for one in wanted)
            levels.append(PowerLevel(taken, groups))
        return tuple(levels)

    @cached_property
    def roots(self) -> tuple[range, ...]:
        """The roots of each factor of the tree, but r's."""
        first = max((taken.stop for level in self.powers for taken in level.taken), default=0)
        return tuple(self._ranges(first, self.fan**self.power_levels))

    @cached_property
    def tree(self) -> tuple[TreeLevel, ...]:
        """The levels after those; what remains after the last is multiplied and opened."""
        levels, count = [], len(self.roots) + 1
        while count > self.fan:
            groups = tuple(tuple(range(at, min(at + self.fan, count))) for at in range(0, count, self.fan))
            levels.append(TreeLevel(groups))
            count = len(groups)
        return tuple(levels)

    @cached_property
    def products(self) -> tuple[int, ...]:
        """How many products are shared in each level."""
        powers = (bool(level.taken) + len(level.groups) for level in self.powers)
        tree = (sum(len(group) > 1 for group in level.groups) for level in self.tree)
        return (*powers, *tree)

    def held(self, level: int) -> int:
        """How many numbers a party holds while this level's products are exchanged: r's factor and the others.

        The level after the last is the opening.
        """
        if level < len(self.powers):
            return 1 + int(self.fan**level)
        done = self.tree[: level - len(self.powers)]
        return len(done[-1].groups) if done else 1 + len(self.roots)

    def _ranges(self, first: int, length: int) -> Iterator[range]:
        return (range(at, min(at + length, self.threshold)) for at in range(first, self.threshold, length))


@lru_cache(maxsize=256)
def best_plan(threshold: int, fan: int) -> Plan:
    """The plan with fewest levels, and of those the one with fewest products."""
    most = next(level for level in range(threshold + 1) if fan**level >= threshold)
    plans = [Plan(threshold, fan, level, taking) for level in range(most + 1) for taking in (False, True)]
    return min(plans, key=lambda plan: (len(plan.products), sum(plan.products)))
