"""Using Feast in our process: quietly, and with featmill's errors."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from exporters.feast.repository import SETTINGS_FILE
from featmill.errors import ContractError, OnlineUnreachable, SettingError, UsageError

if TYPE_CHECKING:
    from feast import FeatureStore

logger = logging.getLogger(__name__)


@contextmanager
def quiet_feast(repository: Path) -> Iterator[None]:
    """Keep what Feast prints and warns of out of our output, and turn its errors into ours.

    Raises:
        UsageError: Feast is not installed, or the repository has not been written or applied.
        ContractError: Feast refused what the repository declares.
        SettingError: the folder cannot be read or written.
        OnlineUnreachable: the online store does not answer.
    """
    if not (repository / SETTINGS_FILE).is_file():
        raise UsageError(
            f"there is no Feast repository at {repository}", hint="export to Feast first"
        )
    try:
        import feast.errors
        import redis.exceptions
        from typeguard import TypeCheckError
    except ImportError as error:
        raise UsageError(
            f"Feast cannot be imported: {error}", hint="pip install 'featmill[feast]'"
        ) from error
    printed = io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(printed):
            warnings.simplefilter("ignore")
            yield
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
        raise OnlineUnreachable(
            f"Feast reaches no online store: {error}",
            hint="start it, then export again if its address changed",
        ) from error
    except OSError as error:
        raise SettingError(
            f"the Feast repository at {repository} cannot be used: {error}",
            hint="set FEATMILL_HOME to a folder that can",
        ) from error
    except (feast.errors.FeastError, TypeCheckError, ValueError, TypeError) as error:
        raise ContractError(
            f"Feast refused the repository at {repository}: {type(error).__name__}: {error}",
            hint="`feast apply` in that folder shows the same with Feast's own words",
        ) from error
    finally:
        if printed.getvalue():
            logger.debug("Feast printed: %s", printed.getvalue().strip())


def open_store(repository: Path) -> FeatureStore:
    """The stock SDK's store of a repository; use it inside `quiet_feast`."""
    from feast import FeatureStore

    return FeatureStore(repo_path=str(repository))
