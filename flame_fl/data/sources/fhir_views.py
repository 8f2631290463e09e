"""Resources to rows by ViewDefinitions, as SQL on FHIR v2 (https://sql-on-fhir.org) says it.

Every view has a column `patient_id`, for every table needs one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice, product
from pathlib import Path
from typing import Any

import pyarrow as pa

from flame_fl.contract.errors import InputError
from flame_fl.data.sources import fhir_columns
from flame_fl.data.sources.fhir_definitions import PACKAGED, Column, Definition, Select, constants, read
from flame_fl.data.sources.fhir_paths import Compiled, PathError, Paths, Resources, plain

_MOST_ROWS = 100_000  # of one resource


def load(view: str, base: str) -> "View":
    """A view by its packaged name, or from the file of a ViewDefinition.

    Args:
        view: The name, or the path.
        base: The server's base address, for references that are written out in full.

    Raises:
        InputError: There is no such view, or it is none that can be run.
    """
    where, definition = read(view)
    return View(view if view in PACKAGED else Path(view).stem, definition, base, where)


@dataclass(frozen=True)
class _Cell:
    name: str
    type: str
    path: Compiled


@dataclass(frozen=True)
class _Plan:
    """A select with its paths compiled."""

    cells: tuple[_Cell, ...]
    each: Compiled | None
    or_null: bool
    parts: tuple["_Plan", ...]
    union: tuple["_Plan", ...]

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """Names and types, in the order of the definition: its own, those of nested selects, those of the union."""
        own = tuple((cell.name, cell.type) for cell in self.cells)
        nested = tuple(chain.from_iterable(part.columns for part in self.parts))
        return own + nested + (self.union[0].columns if self.union else ())


class View:
    """A definition ready to run.

    Attributes:
        name: Its table's.
        resource: The type of resource it reads.
        schema: Its table's columns.
    """

    def __init__(self, name: str, definition: Definition, base: str, where: str) -> None:
        self.name, self.resource, self._where = name, definition.resource, where
        self._page: Resources = {}
        self._paths = Paths(where, base, constants(definition, where))
        self._filters = [(self._paths.compiled(one.path), one.path) for one in definition.where]
        self._plan = _Plan((), None, False, tuple(self._planned(one) for one in definition.select), ())  # noqa: FBT003
        self.schema = self._schema()

    def on(self, page: Resources) -> None:
        """Let `resolve()` find these resources, by "Type/id", until the next call."""
        self._page = page
        self._paths.on(page)

    def rows(self, resource: dict[str, Any]) -> Iterator[tuple[object, ...]]:
        """The rows of one resource, none if it does not meet the view's conditions.

        Raises:
            InputError: A column has two values or one of another type, a condition is no boolean, or there are too
                many rows.
        """
        contained = resource.get("contained")
        if isinstance(contained, list):
            inner = {f"#{one.get('id')}": one for one in contained if isinstance(one, dict)}
            self._paths.on({**self._page, **inner})
        variables = {"resource": resource}
        if all(self._meets(path, text, resource, variables) for path, text in self._filters):
            found = list(islice(self._of(self._plan, resource, variables), _MOST_ROWS + 1))
            if len(found) > _MOST_ROWS:
                raise InputError(
                    f"{self._title} makes more than {_MOST_ROWS} rows of one {self.resource}.",
                    mend="Do not combine several forEach that multiply.",
                )
            yield from found
        if isinstance(contained, list):
            self._paths.on(self._page)

    def _of(self, plan: _Plan, element: Any, variables: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
        items = [element] if plan.each is None else self._run(plan.each, element, variables, "a forEach")
        if not items and plan.or_null:
            yield (None,) * len(plan.columns)
        for item in items:
            own = [tuple(self._cell(cell, item, variables) for cell in plan.cells)]
            parts = [list(self._of(part, item, variables)) for part in plan.parts]
            union = [[row for one in plan.union for row in self._of(one, item, variables)]] if plan.union else []
            for rows in product(own, *parts, *union):
                yield tuple(chain.from_iterable(rows))

    def _cell(self, cell: _Cell, item: Any, variables: Mapping[str, Any]) -> object:
        found = self._run(cell.path, item, variables, f"the column {cell.name!r}")
        if not found:
            return None
        if len(found) > 1:
            raise InputError(
                f"{self._title} finds several values for the column {cell.name!r} in one {self.resource}.",
                mend="End its path with first(), or use forEach.",
            )
        try:
            return fhir_columns.value(plain(found[0]), cell.type)
        except fhir_columns.NotOfTypeError:
            pass
        raise InputError(
            f"{self._title} finds a value for the column {cell.name!r} that is no {cell.type}.",
            mend="Declare the column's type as the profile has it, or correct the resource.",
        )

    def _meets(self, path: Compiled, text: str, resource: Any, variables: Mapping[str, Any]) -> bool:
        found = [plain(one) for one in self._run(path, resource, variables, "a condition")]
        if len(found) > 1 or not all(isinstance(one, bool) for one in found):
            raise InputError(f"The condition {text!r} of {self._where} is no boolean.", mend="Correct its path.")
        return found == [True]

    def _run(self, path: Compiled, item: Any, variables: Mapping[str, Any], what: str) -> list[Any]:
        try:
            return path(item, variables)
        except PathError:
            pass
        raise InputError(
            f"{self._title} cannot evaluate {what} on one {self.resource}.", mend="Correct its path, or the resource."
        )

    def _planned(self, select: Select) -> _Plan:
        each = select.each or select.each_or_null
        union = tuple(self._planned(one) for one in select.union)
        if len({one.columns for one in union}) > 1:
            raise InputError(f"A unionAll in {self._where} has different columns.", mend="Give each part the same.")
        return _Plan(
            tuple(_Cell(one.name, self._type(one), self._paths.compiled(one.path)) for one in select.column),
            None if each is None else self._paths.compiled(each),
            select.each_or_null is not None,
            tuple(self._planned(one) for one in select.select),
            union,
        )

    def _type(self, column: Column) -> str:
        name = fhir_columns.type_name(column.type)
        if not name:
            raise InputError(
                f"The column {column.name!r} of {self._where} has a type that is no simple one.",
                mend="Use string, code, integer, decimal, boolean, date, dateTime or another primitive type.",
            )
        return name

    def _schema(self) -> pa.Schema:
        columns = self._plan.columns
        names = [name for name, _ in columns]
        if len(set(names)) != len(names):
            raise InputError(f"Two columns of {self._where} have one name.", mend="Name each column once.")
        types = {name: fhir_columns.arrow_type(kind) for name, kind in columns}
        if types.get("patient_id") != pa.string():
            raise InputError(
                f"There is no column patient_id of text in {self._where}.",
                mend="Add one, such as subject.getReferenceKey(Patient).",
            )
        return pa.schema([pa.field(name, kind) for name, kind in types.items()])

    @property
    def _title(self) -> str:
        return f"{self._where[0].upper()}{self._where[1:]}"
