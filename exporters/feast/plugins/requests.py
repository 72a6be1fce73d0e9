"""A read's commands as the bytes that go over the wire, and the replies of a connection from the client's own pool.

redis-py's pipeline packs each command and dispatches each reply by itself, which of a hundred rows costs more than the
server takes. Here all rows of a view share what is the same in their commands. Connections, retries and time limits are
the client's.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from exporters.feast.plugins.pointer import VERSION


def packed(asked: Iterable[tuple[Iterable[bytes], tuple[bytes, ...]]], pointer: bytes) -> bytes:
    """An HMGET for each key of a view, with the view's fields, then an HGET of the pointer's version."""
    parts = []
    for keys, fields in asked:
        head, tail = _around(fields)
        parts += [b"%b$%d\r\n%b\r\n%b" % (head, len(key), key, tail) for key in keys]
    parts.append(b"*3\r\n$4\r\nHGET\r\n" + _argument(pointer) + _argument(VERSION.encode()))
    return b"".join(parts)


def ask(client: Any, commands: bytes, replies: int) -> list[Any]:  # noqa: ANN401 - redis-py's
    """Send the commands and take so many replies.

    Raises:
        RedisError: the store does not answer, or refuses one of the commands.
    """
    pool = client.connection_pool
    connection = pool.get_connection()

    def exchange() -> list[Any]:
        connection.send_packed_command([commands])
        return [connection.read_response() for _ in range(replies)]

    try:
        found: list[Any] = connection.retry.call_with_retry(
            exchange, lambda _: connection.disconnect()
        )
    except BaseException:
        # There may be replies on their way that the next read would take for its own.
        connection.disconnect()
        raise
    finally:
        pool.release(connection)
    return found


async def ask_async(
    client: Any,  # noqa: ANN401 - redis-py's
    commands: bytes,
    replies: int,
) -> list[Any]:
    """The same without blocking; raises as `ask`."""
    pool = client.connection_pool
    connection = await pool.get_connection()

    async def exchange() -> list[Any]:
        await connection.send_packed_command(commands)
        return [await connection.read_response() for _ in range(replies)]

    try:
        found: list[Any] = await connection.retry.call_with_retry(
            exchange, lambda _: connection.disconnect()
        )
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)
    return found


@lru_cache(maxsize=1024)
def _around(fields: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """What comes before and after the key in an HMGET of these fields."""
    head = b"*%d\r\n$5\r\nHMGET\r\n" % (len(fields) + 2)
    return head, b"".join(map(_argument, fields))


def _argument(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)
