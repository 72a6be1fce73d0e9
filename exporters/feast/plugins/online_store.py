"""Feast's online store with what its own Redis store leaves out: generations, ttl, and a status that is true.

In `feature_store.yaml` it takes the place of `type: redis`; the other settings are Feast's own:

    online_store:
      type: exporters.feast.plugins.online_store.FeatmillOnlineStore
      connection_string: localhost:6379,db=0

The Feast SDK and `feast serve` then answer of every value `PRESENT`, `NULL_VALUE`, `NOT_FOUND` or, for a row past its
view's ttl, `OUTSIDE_MAX_AGE` without a value. What featmill publishes is written by releases alone; views of other
sources are Feast's to write, in its own bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from feast import utils
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig, RedisType

from exporters.feast.plugins.answers import ViewAnswer
from exporters.feast.plugins.entity_keys import EntityKeys, keys_of_rows
from exporters.feast.plugins.pointer import MOST_FLIPS, VERSION, Pointer
from exporters.feast.plugins.requests import ask, ask_async, packed
from exporters.feast.plugins.source import FeatmillSource
from featmill import clock
from featmill.errors import OnlineError, UsageError
from featmill.online.plan import feature_field, time_field

if TYPE_CHECKING:
    from datetime import datetime

    from feast import FeatureView, RepoConfig

    _Read = tuple[list[bytes], tuple[bytes, ...]]
    Rows = list[tuple[datetime | None, dict[str, Any] | None]]


class FeatmillOnlineStoreConfig(RedisOnlineStoreConfig):  # type: ignore[misc]  # Feast is not typed
    """`online_store` in `feature_store.yaml`: the settings of Feast's Redis store."""

    type: str = "exporters.feast.plugins.online_store.FeatmillOnlineStore"


@dataclass(frozen=True, slots=True)
class _Asked:
    """Some features of one view for some entities."""

    view: FeatureView
    names: tuple[str, ...]
    fields: tuple[bytes, ...]
    keys: EntityKeys


class FeatmillOnlineStore(RedisOnlineStore):  # type: ignore[misc]  # Feast is not typed
    """Reads what serves; Feast's own store for whatever else a repository keeps in the same Redis."""

    def __init__(self) -> None:
        super().__init__()
        self._client_async: Any = None
        self._pointers: dict[str, Pointer] = {}

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[Any],
        requested_features: list[str] | None = None,
    ) -> Rows:
        """Event time and values of each entity; no values where there is no row, or none that serves any more.

        Raises:
            OnlineError: the store holds something else than values, or flips without end.
        """
        asked = _asked(config, table, requested_features, EntityKeys.of(entity_keys))
        (replies,) = self._replies(config, [asked])
        return ViewAnswer.of(table, asked.names, replies, clock.now()).rows()

    async def online_read_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[Any],
        requested_features: list[str] | None = None,
    ) -> Rows:
        """The same without blocking; raises as `online_read`."""
        asked = _asked(config, table, requested_features, EntityKeys.of(entity_keys))
        (replies,) = await self._replies_async(config, [asked])
        return ViewAnswer.of(table, asked.names, replies, clock.now()).rows()

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[Any],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows as Feast's own store does, of a view that featmill does not publish.

        Raises:
            UsageError: featmill publishes it.
        """
        _refuse_published(table)
        super().online_write_batch(config, table, data, progress)

    async def online_write_batch_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[Any],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """The same without blocking; raises as `online_write_batch`."""
        _refuse_published(table)
        await super().online_write_batch_async(config, table, data, progress)

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        **more: Any,  # noqa: ANN401 - handed on as it is
    ) -> None:
        """Delete what Feast wrote of views that are gone; what featmill publishes, it retires itself."""
        foreign = [table for table in tables_to_delete if not is_published(table)]
        super().update(
            config=config, tables_to_delete=foreign, tables_to_keep=tables_to_keep, **more
        )

    def teardown(
        self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Any]
    ) -> None:
        """Delete what Feast wrote; entities of published views keep their rows."""
        foreign = [table for table in tables if not is_published(table)]
        kept = {key for table in tables if is_published(table) for key in table.join_keys}
        gone = [entity for entity in entities if entity.join_key not in kept]
        super().teardown(config, foreign, gone)

    async def close(self) -> None:
        """Close the connections that do not block; Feast's own store leaves them to the garbage collector."""
        client, self._client_async = self._client_async, None
        if client is not None:
            pool = getattr(client, "connection_pool", None)
            await client.aclose()
            # The sentinels that were asked for the primary have clients of their own.
            for sentinel in getattr(getattr(pool, "sentinel_manager", None), "sentinels", ()):
                await sentinel.aclose()

    def _read_features_per_fv(  # noqa: PLR0913 - Feast's own signature
        self,
        config: RepoConfig,
        grouped_refs: Sequence[tuple[FeatureView, list[str]]],
        join_key_values: dict[str, Any],
        entity_name_to_join_key_map: dict[str, str],
        online_features_response: Any,  # noqa: ANN401 - a protobuf message
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        asked = _asked_of_all(config, grouped_refs, join_key_values, entity_name_to_join_key_map)
        _answer(
            asked,
            self._replies(config, asked),
            online_features_response,
            full_feature_names=full_feature_names,
            with_versions=include_feature_view_version_metadata,
        )

    async def _read_features_per_fv_async(  # noqa: PLR0913 - Feast's own signature
        self,
        config: RepoConfig,
        grouped_refs: Sequence[tuple[FeatureView, list[str]]],
        join_key_values: dict[str, Any],
        entity_name_to_join_key_map: dict[str, str],
        online_features_response: Any,  # noqa: ANN401 - a protobuf message
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        asked = _asked_of_all(config, grouped_refs, join_key_values, entity_name_to_join_key_map)
        _answer(
            asked,
            await self._replies_async(config, asked),
            online_features_response,
            full_feature_names=full_feature_names,
            with_versions=include_feature_view_version_metadata,
        )

    def _pointer(self, config: RepoConfig) -> Pointer:
        return self._pointers.setdefault(config.project, Pointer(config.project))

    def _replies(self, config: RepoConfig, asked: Sequence[_Asked]) -> list[list[Any]]:
        """A list for each view, with the fields of each row; all of one generation."""
        client = self._get_client(config.online_store)
        pointer, is_cluster = self._pointer(config), _is_cluster(config)
        for _ in range(MOST_FLIPS):
            version, rows_project = pointer.known
            reads = _reads(asked, config.project, rows_project)
            if is_cluster:
                # Its nodes answer in no certain order, and the version must be read after the rows.
                pipe = client.pipeline(transaction=False)
                _add_reads(pipe, reads)
                replies = [*pipe.execute(), client.hget(pointer.key, VERSION)]
            else:
                replies = ask(client, packed(reads, pointer.key), _count(reads) + 1)
            if replies[-1] == version:
                return _by_view(asked, replies)
            if not pointer.learn(*client.hmget(pointer.key, VERSION, "state")):
                return _by_view(asked, replies)
        raise _flipping(config)

    async def _replies_async(self, config: RepoConfig, asked: Sequence[_Asked]) -> list[list[Any]]:
        client = await self._get_client_async(config.online_store)
        pointer, is_cluster = self._pointer(config), _is_cluster(config)
        for _ in range(MOST_FLIPS):
            version, rows_project = pointer.known
            reads = _reads(asked, config.project, rows_project)
            if is_cluster:
                pipe = client.pipeline(transaction=False)
                _add_reads(pipe, reads)
                replies = [*(await pipe.execute()), await client.hget(pointer.key, VERSION)]
            else:
                replies = await ask_async(client, packed(reads, pointer.key), _count(reads) + 1)
            if replies[-1] == version:
                return _by_view(asked, replies)
            if not pointer.learn(*(await client.hmget(pointer.key, VERSION, "state"))):
                return _by_view(asked, replies)
        raise _flipping(config)


def is_published(view: FeatureView) -> bool:
    """Whether featmill publishes a view's rows: then releases write them, and their keys bear the generation."""
    return isinstance(getattr(view, "batch_source", None), FeatmillSource)


def _refuse_published(view: FeatureView) -> None:
    if is_published(view):
        raise UsageError(
            f"{view.name} is published by featmill: what serves of it is a release, and nothing else (rule 20)",
            hint="publish it with featmill promote or feast materialize; push into a view of your own source",
        )


def _asked(
    config: RepoConfig, view: FeatureView, names: Sequence[str] | None, keys: EntityKeys
) -> _Asked:
    wanted = tuple(names) if names else tuple(feature.name for feature in view.features)
    online = compute_versioned_name(view, config.registry.enable_online_feature_view_versioning)
    return _Asked(view, wanted, _fields(online, wanted), keys)


@lru_cache(maxsize=1024)
def _fields(view: str, names: tuple[str, ...]) -> tuple[bytes, ...]:
    """Where a view's features lie in a hash, its event time last; the same for every read of a service."""
    return (*(feature_field(view, name) for name in names), time_field(view))


def _asked_of_all(
    config: RepoConfig,
    grouped: Sequence[tuple[FeatureView, list[str]]],
    values: dict[str, Any],
    keys_of_entities: dict[str, str],
) -> list[_Asked]:
    return [
        _asked(
            config,
            view,
            names,
            keys_of_rows(view, utils._get_table_entity_values(view, keys_of_entities, values)),
        )
        for view, names in grouped
    ]


def _reads(asked: Sequence[_Asked], project: str, rows_project: str) -> list[_Read]:
    """The keys and the fields of each view."""
    reads = []
    for one in asked:
        suffix = (rows_project if is_published(one.view) else project).encode()
        reads.append(([key + suffix for key in one.keys.prefixed], one.fields))
    return reads


def _count(reads: Sequence[_Read]) -> int:
    return sum(len(keys) for keys, _ in reads)


def _add_reads(pipe: Any, reads: Sequence[_Read]) -> None:  # noqa: ANN401 - redis-py's pipeline
    for keys, fields in reads:
        for key in keys:
            pipe.hmget(key, fields)


def _by_view(asked: Sequence[_Asked], replies: Sequence[Any]) -> list[list[Any]]:
    found, start = [], 0
    for one in asked:
        found.append(list(replies[start : start + len(one.keys.prefixed)]))
        start += len(one.keys.prefixed)
    return found


def _answer(
    asked: Sequence[_Asked],
    replies: Sequence[list[Any]],
    response: Any,  # noqa: ANN401 - a protobuf message
    *,
    full_feature_names: bool,
    with_versions: bool,
) -> None:
    now = clock.now()
    for one, found in zip(asked, replies, strict=True):
        answer = ViewAnswer.of(one.view, one.names, found, now)
        answer.append_to(response, full_feature_names=full_feature_names)
        if with_versions:
            _add_version(one.view, response)


def _add_version(view: FeatureView, response: Any) -> None:  # noqa: ANN401 - a protobuf message
    name = view.projection.name_alias or view.projection.name
    known = response.metadata.feature_view_metadata
    if name not in [said.name for said in known]:
        known.add(name=name, version=getattr(view, "current_version_number", 0) or 0)


def _is_cluster(config: RepoConfig) -> bool:
    return bool(config.online_store.redis_type == RedisType.redis_cluster)


def _flipping(config: RepoConfig) -> OnlineError:
    return OnlineError(
        f"project {config.project}: its generation changed {MOST_FLIPS} times during one read",
        hint="something promotes again and again: featmill live shows what serves",
    )
