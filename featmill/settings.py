"""Settings: one prefix, read from the environment, the same names dbt's own `env_var` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from featmill.errors import SettingError


class Settings(BaseSettings):
    """Where things are. Each field is the environment variable `FEATMILL_<NAME>`.

    Relative paths are relative to `project_dir`, as dbt resolves them.
    """

    model_config = SettingsConfigDict(env_prefix="FEATMILL_", frozen=True, extra="ignore")

    project_dir: Path = Field(default=Path(), description="The dbt project.")
    home: Path = Field(
        default=Path(".featmill"),
        description="Everything featmill writes: build database, lake, registry, online store, Feast repository.",
    )
    sources: str = Field(
        default="seeds/sample",
        description="The folder of the source files: `<table>.parquet`, `<table>.csv`, or a folder `<table>/` of "
        "Parquet files or a Delta table.",
    )
    redis_url: str | None = Field(
        default=None,
        repr=False,
        description="The online store: `redis://`, `rediss://`, `unix://`, `redis+sentinel://` or `redis+cluster://`. "
        "Unset = an embedded Valkey.",
    )
    as_of: str | None = Field(
        default=None,
        description="The moment a build computes features at, ISO 8601 in UTC. Unset = the newest UTC midnight not "
        "after the newest `ingested_at` in the sources.",
    )
    cut_off: str | None = Field(
        default=None,
        description="A build reads only rows with `ingested_at` at or before this. Unset = the newest in the sources.",
    )

    publish_mode: Literal["in_place", "generation"] = Field(
        default="in_place",
        description="How a release goes online: `in_place` changes the live rows one by one, `generation` writes all "
        "of them beside the live ones and then flips one pointer.",
    )
    keep_generations: int = Field(
        default=2,
        ge=0,
        description="How many generations that served before stay in the store beside the live one, to go back to at "
        "once.",
    )
    online_expiry: str | None = Field(
        default=None,
        pattern=r"^[0-9]{1,6}[smhd]$",
        description="How long after its ttl an entity's key stays in the store, such as `7d`; then the store drops it "
        "by itself. Unset = keys stay until the entity vanishes. What is answered does not depend on it.",
    )

    @property
    def root(self) -> Path:
        """The absolute folder of the dbt project."""
        return self.project_dir.expanduser().resolve()

    @property
    def home_dir(self) -> Path:
        """The absolute folder of everything featmill writes."""
        home = self.home.expanduser()
        return home if home.is_absolute() else self.root / home

    @property
    def build_database(self) -> Path:
        """The DuckDB file that only dbt opens."""
        return self.home_dir / "build.duckdb"

    @property
    def lake_dir(self) -> Path:
        """The folder of the published Delta tables and the registry."""
        return self.home_dir / "lake"

    @property
    def features_database(self) -> Path:
        """The read-only DuckDB file with one view per published table."""
        return self.home_dir / "features.duckdb"

    @property
    def feast_repository(self) -> Path:
        """The folder of the generated Feast repository."""
        return self.home_dir / "feast"

    @property
    def online_dir(self) -> Path:
        """The folder of the embedded online store."""
        return self.home_dir / "online"

    @property
    def api_keys(self) -> Path:
        """The hashes of the API keys of `featmill serve`; only its owner can read it."""
        return self.home_dir / "serving" / "keys.json"

    @property
    def served_log(self) -> Path:
        """The folder of the log of served features, where one is kept."""
        return self.home_dir / "serving" / "served"

    @property
    def served_secret(self) -> Path:
        """What the keys in that log are hashed with; only its owner can read it."""
        return self.home_dir / "serving" / "secret"

    @property
    def manifest(self) -> Path:
        """dbt's manifest of the project."""
        return self.root / "target" / "manifest.json"


def load_settings(project_dir: Path | None = None) -> Settings:
    """Read the settings; `project_dir`, where given, wins over the environment.

    Raises:
        SettingError: a variable's value is not of its type.
    """
    try:
        return Settings() if project_dir is None else Settings(project_dir=project_dir)
    except ValidationError as error:
        first = error.errors()[0]
        name = "FEATMILL_" + str(first["loc"][0]).upper()
        raise SettingError(f"{name}: {first['msg']}, got {first['input']!r}") from error
