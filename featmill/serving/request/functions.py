"""Functions and connectives that a request-time expression may call outside of DuckDB, each equal to DuckDB's.

They raise ArithmeticError or ValueError where the value needs care: then DuckDB computes it.
"""

from __future__ import annotations

import math
from functools import partial
from operator import add, mul, sub, truediv
from typing import TYPE_CHECKING, Any

from featmill.serving.request.casts import INTEGERS, TIMES, decimal_of, within
from featmill.serving.request.times import part_of, shifted, span_between, truncated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from featmill.serving.request.sql import Node

    Function = Callable[[Sequence[Any]], Any]

_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {"+": add, "-": sub, "*": mul}
_MICROS_A_DAY = 86_400_000_000


def interval_of(said: Mapping[str, int]) -> int | None:
    """A constant interval in microseconds; a month has no length, so None leaves it to DuckDB."""
    if said["months"]:
        return None
    return said["days"] * _MICROS_A_DAY + said["micros"]


def function_of(node: Node) -> Callable[..., Any] | None:
    """A function of values that are not NULL, None where DuckDB has to compute it."""
    types = tuple(child.type for child in node.children)
    if node.kind in _ARITHMETIC and len(types) == 2:
        return _arithmetic(node, types)
    if types and types[0] in TIMES | {"DATE"}:
        return part_of(node.kind, types[0]) if len(types) == 1 else None
    if node.kind in ("date_trunc", "datetrunc"):
        return _of_constant_part(node, truncated)
    if node.kind in ("date_diff", "datediff"):
        return _of_constant_part(node, span_between)
    if types and types[0] == "VARCHAR":
        return _TEXTS.get((node.kind, len(types)))
    if node.kind in ("len", "length", "array_length") and types[0].endswith("[]"):
        return len if len(types) == 1 else None
    if types == ("DOUBLE",) or types == ("DOUBLE", "DOUBLE"):
        return _REALS.get((node.kind, len(types)))
    return _of_integers(node, types)


def _arithmetic(node: Node, types: tuple[str, ...]) -> Callable[[Any, Any], Any] | None:
    operation = _ARITHMETIC[node.kind]
    if types == ("DOUBLE", "DOUBLE"):
        return partial(_real, operation)
    if node.type in INTEGERS and set(types) == {node.type}:
        return _fitting(operation, *INTEGERS[node.type])
    made_of = [decimal_of(name) for name in types]
    found = decimal_of(node.type)
    if found is not None and None not in made_of:
        return _of_decimals(node.kind, made_of, found)
    if types[0] in TIMES and types[1] == "INTERVAL" and node.children[1].kind == "constant":
        return shifted(operation) if interval_of(node.children[1].value) is not None else None
    is_days = types == ("DATE", "DATE") and node.kind == "-" and node.type == "BIGINT"
    return sub if is_days else None


def _of_decimals(
    kind: str, made_of: Sequence[tuple[int, int] | None], found: tuple[int, int]
) -> Callable[[int, int], int] | None:
    """Sums of one scale, products of two: exact, as integers."""
    scales = [one[1] for one in made_of if one is not None]
    width, scale = found
    wanted = sum(scales) if kind == "*" else max(scales)
    if wanted != scale or (kind != "*" and scales[0] != scales[1]):
        return None
    return _fitting(_ARITHMETIC[kind], 1 - 10**width, 10**width - 1)


def _fitting(
    operation: Callable[[int, int], int], low: int, high: int
) -> Callable[[int, int], int]:
    def checked(a: int, b: int) -> int:
        found = operation(a, b)
        if low <= found <= high:
            return found
        raise OverflowError(found)

    return checked


def _real(operation: Callable[[float, float], float], a: float, b: float) -> float:
    found = operation(a, b)
    if found != found:
        raise ValueError(found)
    return found


def _of_integers(node: Node, types: tuple[str, ...]) -> Callable[..., int] | None:
    if node.type not in INTEGERS or set(types) != {node.type}:
        return None
    fits = within(*INTEGERS[node.type])
    if len(types) == 1:
        return {"-": lambda a: fits(-a), "abs": lambda a: fits(abs(a))}.get(node.kind)
    if len(types) == 2:
        return {"//": _quotient(fits), "%": _rest, "mod": _rest}.get(node.kind)
    return None


def _quotient(fits: Callable[[int], int]) -> Callable[[int, int], int]:
    """Division that cuts off towards zero, as C does; Python's goes down."""
    return lambda a, b: fits(abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1))


def _rest(a: int, b: int) -> int:
    """What such a division leaves: of the dividend's sign. DuckDB divides first, which may overflow."""
    if b == -1:
        raise OverflowError(a)
    found = abs(a) % abs(b)
    return -found if a < 0 else found


def _whole(cut: Callable[[float], int]) -> Callable[[float], float]:
    # A negative zero stays one.
    return lambda a: math.copysign(float(cut(a)), a)


def _rounded(a: float) -> float:
    """Half away from zero, as C's round."""
    cut = float(math.trunc(a))
    if abs(a - cut) >= 0.5:
        cut += math.copysign(1.0, a)
    return math.copysign(cut, a)


def _positive(function: Callable[[float], float]) -> Callable[[float], float]:
    def checked(a: float) -> float:
        if a > 0.0:
            return function(a)
        raise ValueError(a)

    return checked


def _power(a: float, b: float) -> float:
    return math.pow(a, b)


_POWERS = dict.fromkeys((("pow", 2), ("power", 2), ("**", 2), ("^", 2)), _power)
_REALS: dict[tuple[str, int], Callable[..., Any]] = {
    ("/", 2): partial(_real, truediv),
    ("-", 1): lambda a: -a,
    ("abs", 1): abs,
    ("floor", 1): _whole(math.floor),
    ("ceil", 1): _whole(math.ceil),
    ("ceiling", 1): _whole(math.ceil),
    ("round", 1): _rounded,
    ("sqrt", 1): _positive(math.sqrt),
    ("ln", 1): _positive(math.log),
    ("log", 1): _positive(math.log10),
    ("log10", 1): _positive(math.log10),
    ("log2", 1): _positive(math.log2),
    ("exp", 1): math.exp,
    ("isnan", 1): lambda _: False,
    **_POWERS,
}


def _ascii(text: str) -> str:
    """The text where its letters are English ones: of others DuckDB knows the other case."""
    if text.isascii():
        return text
    raise ValueError(text)


_TEXTS: dict[tuple[str, int], Callable[..., Any]] = {
    ("lower", 1): lambda text: _ascii(text).lower(),
    ("lcase", 1): lambda text: _ascii(text).lower(),
    ("upper", 1): lambda text: _ascii(text).upper(),
    ("ucase", 1): lambda text: _ascii(text).upper(),
    ("len", 1): len,
    ("length", 1): len,
    ("||", 2): add,
    ("starts_with", 2): lambda text, begin: text.startswith(begin),
    ("prefix", 2): lambda text, begin: text.startswith(begin),
    ("^@", 2): lambda text, begin: text.startswith(begin),
    ("ends_with", 2): lambda text, end: text.endswith(end),
    ("suffix", 2): lambda text, end: text.endswith(end),
    ("contains", 2): lambda text, part: part in text,
}


def _of_constant_part(node: Node, make: Callable[..., Any]) -> Callable[..., Any] | None:
    part, *others = node.children
    if part.kind == "__cast" and part.children[0].type == "VARCHAR":
        (part,) = part.children
    if part.kind != "constant" or not isinstance(part.value, str):
        return None
    found: Callable[..., Any] | None = make(
        part.value.lower(), tuple(one.type for one in others), node.type
    )
    return found


# --- What decides for itself which of its arguments are computed, and what a NULL among them means --------------------


def _case(children: Sequence[Function]) -> Function:
    branches = list(zip(children[:-1:2], children[1::2], strict=True))
    otherwise = children[-1]

    def answer(row: Sequence[Any]) -> Any:  # noqa: ANN401
        for when, then in branches:
            if when(row):
                return then(row)
        return otherwise(row)

    return answer


def _coalesce(children: Sequence[Function]) -> Function:
    def answer(row: Sequence[Any]) -> Any:  # noqa: ANN401
        for child in children:
            found = child(row)
            if found is not None:
                return found
        return None

    return answer


def _concat(children: Sequence[Function]) -> Function:
    return lambda row: "".join([text for child in children if (text := child(row)) is not None])


def _is_null(children: Sequence[Function]) -> Function:
    (child,) = children
    return lambda row: child(row) is None


def _is_not_null(children: Sequence[Function]) -> Function:
    (child,) = children
    return lambda row: child(row) is not None


def _not(children: Sequence[Function]) -> Function:
    (child,) = children

    def answer(row: Sequence[Any]) -> bool | None:
        found = child(row)
        return None if found is None else not found

    return answer


def _every(children: Sequence[Function]) -> Function:
    def answer(row: Sequence[Any]) -> bool | None:
        found = [child(row) for child in children]
        return False if False in found else None if None in found else True

    return answer


def _any(children: Sequence[Function]) -> Function:
    def answer(row: Sequence[Any]) -> bool | None:
        found = [child(row) for child in children]
        return True if True in found else None if None in found else False

    return answer


def _in(children: Sequence[Function]) -> Function:
    wanted, *listed = children

    def answer(row: Sequence[Any]) -> bool | None:
        value, found = wanted(row), [child(row) for child in listed]
        if value is None:
            return None
        there = [one for one in found if one is not None]
        return True if value in there else None if len(there) < len(found) else False

    return answer


def _extreme(children: Sequence[Function], *, greatest: bool) -> Function:
    """NULLs are passed over, and of equal values the first counts: 0.0 and -0.0 are two bit patterns."""

    def answer(row: Sequence[Any]) -> Any:  # noqa: ANN401
        values = [value for child in children if (value := child(row)) is not None]
        if not values:
            return None
        return max(values) if greatest else min(values)

    return answer


LAZY: dict[str, Callable[[Sequence[Function]], Function]] = {
    "case": _case,
    "operator_coalesce": _coalesce,
    "concat": _concat,
}

CONNECTIVES: dict[str, Callable[[Sequence[Function]], Function]] = {
    "operator_is_null": _is_null,
    "operator_is_not_null": _is_not_null,
    "operator_not": _not,
    "conjunction_and": _every,
    "conjunction_or": _any,
    "compare_in": _in,
    "least": partial(_extreme, greatest=False),
    "greatest": partial(_extreme, greatest=True),
}
