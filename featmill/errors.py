"""Every error featmill raises, drawn.

```
FeatmillError                    exit code 1 unless said otherwise
├── UsageError                   2: what was asked for cannot be done as asked
│   ├── SettingError             a setting, path or URL is wrong
│   ├── AsOfError                an as_of that is malformed or before the data
│   ├── NotNewer                 a promotion of what does not come after what was promoted before
│   ├── SpineError               a spine without a key, with NULLs or of the wrong type
│   ├── ManifestError            a training set's manifest that cannot be read
│   ├── RequestError             a request for features with a key, field or type that is wrong
│   │   ├── RequestRefused       the HTTP server answers it with a status of 4xx, 500 or 503
│   │   └── ServerRefused        the client was answered with such a status
│   │       ├── NotAllowed       no key, or one that does not open this
│   │       └── TooBusy          refused until the deadline: too much to do
│   └── KernelRefused            values that the window kernel cannot hold as 64-bit integers
├── ContractError                2: the dbt project's declarations contradict the contract
├── SourceError                  1: a source file is missing, empty or of the wrong type
├── BuildError                   1: dbt could not build
│   ├── BuildLocked              another process holds the build database
│   └── GateFailed               a data test failed; nothing of its table was published
├── LakeError                    1: a published table is not what the registry says
│   ├── SchemaChanged            a column's type changed on a live table
│   ├── SnapshotExpired          retention removed the snapshot that is asked for
│   ├── IndexUnusable            a row index cannot be built, or is stale, foreign or broken
│   └── NoRelease                nothing has been released yet
├── OnlineError                  1: the online store
│   ├── OnlineUnreachable        no server, or it refused us: it may pass
│   │   ├── StoreNotReady        it loads, is busy with a script, or has lost its primary
│   │   ├── NotPrimary           a replica where the primary was: after or during a failover
│   │   └── SlotsMoved           a cluster's slots are on, or on their way to, another node
│   ├── OnlineRefused            the server answered a command with an error
│   │   ├── StoreFull            no memory left for a write
│   │   ├── StoreUnsaved         it cannot write to its disk, so it takes no writes
│   │   ├── AccessDenied         the user may not run a command, or not on this key
│   │   └── KeyTaken             the key of an entity holds something that is no hash
│   └── EncodingError            a value has no online form
├── TrainingSetDiffers           1: made again, a training set is not what its manifest says
└── ParityError                  1: online and published values differ
```

A message says what, where, what was expected and what to do. `hint` is the last of these, shown on its own line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class FeatmillError(Exception):
    """Root of the tree. `exit_code` is what the command line returns."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(FeatmillError):
    """What was asked for cannot be done as asked."""

    exit_code = 2


class SettingError(UsageError):
    """A setting, path or URL is wrong."""


class AsOfError(UsageError):
    """An as_of that is malformed or before the data."""


class NotNewer(UsageError):
    """A promotion of what does not come after what was promoted before; only a rollback goes back."""


class SpineError(UsageError):
    """A spine without a key, with NULLs or of the wrong type."""


class KernelRefused(UsageError):
    """Values that the window kernel cannot hold as 64-bit integers; SQL computes them."""


class ManifestError(UsageError):
    """A training set's manifest that cannot be read."""


class RequestError(UsageError):
    """A request for features that is wrong; `field` is the dotted name of what is, such as `keys.user_id`."""

    def __init__(self, message: str, *, field: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.field = field


class RequestRefused(RequestError):
    """An HTTP request that the server answers with `status` (4xx, 500 or 503); `hint` is what was expected."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        field: str = "",
        expected: str = "",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(message, field=field, hint=expected)
        self.status = status
        self.headers = tuple(headers)


class ServerRefused(RequestError):
    """The feature server refused a request; `status` is HTTP's, `request_id` finds it in the server's log."""

    def __init__(
        self, status: int, message: str, *, field: str, hint: str | None, request_id: str
    ) -> None:
        super().__init__(message, field=field, hint=hint)
        self.status = status
        self.request_id = request_id


class NotAllowed(ServerRefused):
    """No key, one that opens nothing, or not this (401, 403)."""


class TooBusy(ServerRefused):
    """Refused until the deadline because there was too much to do (429, 502, 503, 504)."""


class ContractError(UsageError):
    """The dbt project's declarations contradict the contract."""


class SourceError(FeatmillError):
    """A source file is missing, empty or of the wrong type."""


class BuildError(FeatmillError):
    """Something that dbt ran failed."""


class BuildLocked(BuildError):
    """Another process holds the build database."""


class GateFailed(BuildError):
    """A data test failed; nothing of its table was published."""


class LakeError(FeatmillError):
    """A published table is not what the registry says."""


class SchemaChanged(LakeError):
    """A column's type changed, or it was dropped, on a live table."""


class IndexUnusable(LakeError):
    """A row index cannot be built, or is stale, foreign or broken; nothing ever needs one."""


class SnapshotExpired(LakeError):
    """Retention removed the snapshot that is asked for."""


class NoRelease(LakeError):
    """Nothing has been released yet."""


class OnlineError(FeatmillError):
    """The online store."""


class OnlineUnreachable(OnlineError):
    """There is no server, or it refused us; what is of this kind may pass."""


class StoreNotReady(OnlineUnreachable):
    """The server answers, but it loads its data, is busy with a script, or has lost its primary."""


class NotPrimary(OnlineUnreachable):
    """A replica answered where the primary was expected: a failover has happened or is happening."""


class SlotsMoved(OnlineUnreachable):
    """A cluster's slots are on, or on their way to, another node than the one that was asked."""


class OnlineRefused(OnlineError):
    """The server answered a command with an error."""


class StoreFull(OnlineRefused):
    """The server has no memory left for a write."""


class StoreUnsaved(OnlineRefused):
    """The server cannot write to its disk, so it takes no writes."""


class AccessDenied(OnlineRefused):
    """The user may not run a command, or not on this key."""


class KeyTaken(OnlineRefused):
    """The key of an entity holds something that is no hash: another program wrote it."""


class EncodingError(OnlineError):
    """A value has no online form."""


class TrainingSetDiffers(FeatmillError):
    """Made again, a training set is not what its manifest says."""


class ParityError(FeatmillError):
    """Online and published values differ."""
