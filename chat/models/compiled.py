"""Prepared statements: the SQL of the queries that every question makes, composed by Django once.

Django composes SQL for each queryset: 0.2 to 0.5 ms of CPU time, where SQLite finds the row in 0.02. Only the values in
the SQL differ from one time to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from itertools import cycle
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, cast

from django.core.exceptions import ObjectDoesNotExist
from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field, Model, QuerySet
from django.db.models.expressions import Expression
from django.db.models.sql import InsertQuery, UpdateQuery

M = TypeVar("M", bound=Model)
Kind: TypeAlias = "Field[Any, Any]"


# Types whose values the fields of these classes hand over as they are. Three values of four that a question writes are
# such, or NULL, and Django's own way takes six calls for each.
_AS_THEY_ARE: dict[type[Kind], type] = {models.CharField: str, models.TextField: str, models.BooleanField: bool}
_INTEGERS = (
    models.IntegerField,
    models.BigIntegerField,
    models.PositiveIntegerField,
    models.PositiveSmallIntegerField,
)
_KNOWN_TYPES = {
    "postgresql": _AS_THEY_ARE,  # psycopg is told how wide an integer is
    "sqlite": _AS_THEY_ARE | dict.fromkeys(_INTEGERS, int),
}


def bind_value(kind: Kind, value: Any, connection: BaseDatabaseWrapper) -> Any:
    """Return a value as the database's driver takes it for a field: what its `get_db_prep_save` returns."""
    if value is None or isinstance(value, _KNOWN_TYPES[connection.vendor].get(type(kind), ())):
        return value
    return kind.get_db_prep_save(value, connection)


class Placeholder(Expression):
    """A placeholder in a statement: its value is given when the statement is executed."""

    def __init__(self, number: int, kind: Kind) -> None:
        super().__init__(output_field=kind)
        self.number = number
        self.kind = kind

    def as_sql(self, compiler: Any, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        return "%s", [self]


class _Sql(NamedTuple):
    """Composed SQL, its parameters (values and placeholders), and how the columns of its rows become fields."""

    sql: str
    parameters: tuple[Any, ...]
    columns: tuple[_Column, ...] = ()

    def bind(self, values: Sequence[Any], connection: BaseDatabaseWrapper) -> list[Any]:
        return [
            bind_value(parameter.kind, values[parameter.number], connection)
            if isinstance(parameter, Placeholder)
            else parameter
            for parameter in self.parameters
        ]

    def fetch_rows(self, values: Sequence[Any], connection: BaseDatabaseWrapper) -> list[list[Any]]:
        """Execute the SELECT and return its rows, each value converted as Django's fields do."""
        with connection.cursor() as cursor:
            cursor.execute(self.sql, self.bind(values, connection))
            rows = [list(row) for row in cursor.fetchall()]
        for number, column in enumerate(self.columns):
            for row in rows if column.converters else ():
                row[number] = column.convert(row[number], connection)
        return rows


class _Column(NamedTuple):
    """A column of the rows, as Django's compiler has it."""

    field: str
    expression: Any
    converters: tuple[Callable[[Any, Any, BaseDatabaseWrapper], Any], ...]

    def convert(self, kept: Any, connection: BaseDatabaseWrapper) -> Any:
        for convert in self.converters:
            kept = convert(kept, self.expression, connection)
        return kept


class _Statement(Generic[M]):
    def __init__(self, model: type[M], rows: Callable[..., QuerySet[M]], kinds: Sequence[Kind]) -> None:
        self._model = model
        self._rows = rows
        self._kinds = kinds
        self._composed: dict[str, _Sql] = {}

    def _get_sql(self, connection: BaseDatabaseWrapper) -> _Sql:
        known = self._composed.get(connection.vendor)
        if known is None:
            compiler = self._build_query().get_compiler(connection.alias)
            sql, parameters = compiler.as_sql()
            known = self._composed[connection.vendor] = _Sql(sql, tuple(parameters), self._list_columns(compiler))
        return known

    def _list_columns(self, compiler: Any) -> tuple[_Column, ...]:
        return ()

    def _build_query(self) -> Any:
        return self._rows(*_make_placeholders(self._kinds)).query


class Select(_Statement[M]):
    """A prepared SELECT: `Select(User, lambda pk: User.objects.filter(pk=pk), IntegerField())`.

    Call it with values of these kinds; it returns the rows. Only values vary: another filter, order or `NULL` test
    needs a statement of its own.
    """

    def __init__(self, model: type[M], rows: Callable[..., QuerySet[M]], *kinds: Kind) -> None:
        super().__init__(model, rows, kinds)

    def __call__(self, *values: Any) -> list[M]:
        connection = connections[DEFAULT_DB_ALIAS]
        statement = self._get_sql(connection)
        fields = [column.field for column in statement.columns]
        return [self._model.from_db(connection.alias, fields, row) for row in statement.fetch_rows(values, connection)]

    def get_first(self, *values: Any) -> M | None:
        return next(iter(self(*values)), None)

    def get(self, *values: Any) -> M:
        """Return the row, or raise `ObjectDoesNotExist`."""
        found = self.get_first(*values)
        if found is None:
            raise ObjectDoesNotExist
        return found

    def list_keys(self, *values: Any) -> list[Any]:
        """Return the primary keys alone, without a model around each; for rows of `only("pk")`."""
        connection = connections[DEFAULT_DB_ALIAS]
        return [key for (key,) in self._get_sql(connection).fetch_rows(values, connection)]

    def _list_columns(self, compiler: Any) -> tuple[_Column, ...]:
        expressions = [expression for expression, _, _ in compiler.select]
        converters = compiler.get_converters(expressions)
        return tuple(
            _Column(expression.target.attname, expression, tuple(converters.get(number, ((), None))[0]))
            for number, expression in enumerate(expressions)
        )


class Update(_Statement[M]):
    """A prepared UPDATE: `Update(User, ("email",), lambda pk: User.objects.filter(pk=pk), IntegerField())`.

    Call it with the values of the columns, then those of the filter; it returns how many rows were changed.
    """

    def __init__(self, model: type[M], columns: Sequence[str], rows: Callable[..., QuerySet[M]], *kinds: Kind) -> None:
        super().__init__(model, rows, kinds)
        self._columns = columns

    def __call__(self, *values: Any) -> int:
        connection = connections[DEFAULT_DB_ALIAS]
        statement = self._get_sql(connection)
        with connection.cursor() as cursor:
            cursor.execute(statement.sql, statement.bind(values, connection))
            changed: int = cursor.rowcount
            return changed

    def execute_many(self, rows: Iterable[Sequence[Any]]) -> int:
        """Execute it once for each of these rows of values; return how many rows it has changed in all."""
        connection = connections[DEFAULT_DB_ALIAS]
        statement = self._get_sql(connection)
        bound = [statement.bind(row, connection) for row in rows]
        with connection.cursor() as cursor:
            cursor.executemany(statement.sql, bound)
            return cast("int", cursor.rowcount) if bound else 0

    def _build_query(self) -> Any:
        fields: list[Any] = [self._model._meta.get_field(column) for column in self._columns]
        set_to = _make_placeholders(fields)
        query: Any = self._rows(*_make_placeholders(self._kinds, len(set_to))).query.chain(UpdateQuery)
        query.add_update_values(dict(zip(self._columns, set_to, strict=True)))
        return query


RESOLVES = "resolve_expression"
"""The method by which Django tells an expression from a value."""


class Insert(Generic[M]):
    """A prepared INSERT: `Insert(User)`.

    Call it with new objects, which become rows of one statement and have their primary keys then. An expression among
    their values is part of the statement, and each other expression composes a statement of its own. The fields that
    are `given` keep the objects' values, where a field would otherwise make its own, such as the present moment.
    """

    def __init__(self, model: type[M], given: Collection[str] = ()) -> None:
        self._model = model
        self._given = given
        self._composed: dict[tuple[Any, ...], _Sql] = {}

    def __call__(self, *objects: M) -> None:
        connection = connections[DEFAULT_DB_ALIAS]
        values = [
            getattr(new, field.attname) if field.name in self._given else field.pre_save(new, True)
            for new in objects
            for field in self._fields
        ]
        statement = self._get_sql(connection, values)
        with connection.cursor() as cursor:
            cursor.execute(statement.sql, statement.bind(values, connection))
            made = cursor.fetchall() if self._generated_fields else [()] * len(objects)
        for new, columns in zip(objects, made, strict=True):
            new._state.adding, new._state.db = False, connection.alias
            for field, value in zip(self._generated_fields, columns, strict=True):
                setattr(new, field.attname, value)

    @cached_property
    def _generated_fields(self) -> list[Kind]:
        """The fields whose values the database makes: the primary key, where it is a serial number."""
        return [] if self._model._meta.auto_field is None else [self._model._meta.auto_field]

    @cached_property
    def _fields(self) -> list[Kind]:
        return [field for field in self._model._meta.local_concrete_fields if field not in self._generated_fields]

    def _get_sql(self, connection: BaseDatabaseWrapper, values: Sequence[Any]) -> _Sql:
        expressions = tuple([(number, value) for number, value in enumerate(values) if hasattr(value, RESOLVES)])
        key = connection.vendor, len(values), expressions
        known = self._composed.get(key)
        if known is None:
            known = self._composed[key] = self._compose(connection, values)
        return known

    def _compose(self, connection: BaseDatabaseWrapper, values: Sequence[Any]) -> _Sql:
        set_to = iter(
            value if hasattr(value, RESOLVES) else Placeholder(number, field)
            for number, (value, field) in enumerate(zip(values, cycle(self._fields), strict=False))
        )
        rows: list[Model] = [
            self._model(**{field.attname: next(set_to) for field in self._fields})
            for _ in range(len(values) // len(self._fields))
        ]
        query = InsertQuery(self._model)
        query.insert_values(self._fields, rows, raw=True)
        compiler: Any = query.get_compiler(connection.alias)
        compiler.returning_fields = self._generated_fields
        [(sql, parameters)] = compiler.as_sql()
        return _Sql(sql, tuple(parameters))


def _make_placeholders(kinds: Sequence[Kind], first: int = 0) -> list[Placeholder]:
    return [Placeholder(number, kind) for number, kind in enumerate(kinds, first)]
