"""Make a training set again from its manifest, and say whether it is the same, or what differs (rule 22).

What decided the values is looked at first, each with a cause of its own: the file itself, the spine, the snapshots.
Where all of these stand, the set is made again and compared by its content hash; then code and libraries can only have
changed what the same input comes to, and the first differing values are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from featmill.errors import FeatmillError, LakeError
from featmill.training.manifest import read_manifest, recipe_from
from featmill.training.output import content_of, write_parquet
from featmill.training.provenance import file_hash, git_sha, versions
from featmill.training.recipe import all_snapshots, snapshots_of
from featmill.training.request_features import redeclared
from featmill.training.rows import training_rows
from featmill.training.spine_source import SpineSource, file_spine, model_spine
from featmill.training.views import answer_columns
from featmill.warehouse.columns import literal, quote
from featmill.warehouse.lake import relation_sql

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from featmill.contract.catalog import Catalog
    from featmill.training.request import Recipe
    from featmill.warehouse.lake import Lake

_SHOWN = 3
_HASHES = {"sha256", "rows_sha256"}
#: What messages call a spine that was taken from the set itself.
_FROM_SET = "the set's own first columns"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification found: nothing but `notes` where the set is identical, else what is different and why."""

    rows: int
    causes: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_identical(self) -> bool:
        """Whether the set made again has the same columns, rows, values and order."""
        return not self.causes


def verify_training_set(
    path: Path, lake: Lake, spine: SpineSource | None = None, catalog: Catalog | None = None
) -> Verdict:
    """Make the set of a manifest again and compare.

    Args:
        path: the manifest.
        lake: where the snapshots are.
        spine: what to read instead of the manifest's spine: a file that moved, or a frame. Without it a spine that
            was no file is taken from the set itself, whose first columns it is.
        catalog: the declarations of now: where a request feature is declared otherwise by now, it is noted. The set
            is made by the manifest's in any case.

    Raises:
        ManifestError: the manifest cannot be read.
    """
    manifest = read_manifest(path)
    recipe = recipe_from(manifest, path)
    output = manifest["output"]
    out = _beside(path, Path(output["path"]))
    edited = _output_causes(out, output)
    gone = _snapshot_causes(recipe, lake)
    with TemporaryDirectory(prefix="featmill-") as scratch:
        source, of_spine = spine, list[str]()
        if source is None and "path" in manifest["spine"]:
            source, of_spine = _file_of(manifest["spine"])
        elif source is None and not edited:
            source = _spine_of(manifest, recipe, out, Path(scratch))
        causes, rows = [*edited, *gone, *of_spine], int(output["rows"])
        if source is not None and not gone:
            more, rows = _made_again(recipe, lake, source, manifest | {"found_at": out})
            # Where the spine is known to differ, that its rows do is no news.
            causes += [cause for cause in more if not of_spine or not cause.startswith("spine")]
    erased = _erased(recipe, lake)
    # Where nobody of the set was erased, it is identical all the same.
    causes = [*erased, *causes] if causes else []
    declared = redeclared(recipe.computed, catalog)
    return Verdict(rows, tuple(causes), (*erased, *_notes(manifest), *declared))


def _made_again(
    recipe: Recipe, lake: Lake, source: SpineSource, manifest: Mapping[str, Any]
) -> tuple[list[str], int]:
    """What differs once the set is made again, and how many rows it then has."""
    output, said = manifest["output"], manifest["spine"]
    causes = []
    with TemporaryDirectory(prefix="featmill-") as scratch:
        again = Path(scratch) / "again.parquet"
        try:
            with training_rows(recipe, lake, source) as rows:
                write_parquet(rows.reader, again)
        except FeatmillError as error:
            return [f"it cannot be made again: {error.message}"], 0
        is_other = any(
            said[name] != rows.spine[name] for name in _HASHES & said.keys() & rows.spine.keys()
        )
        if is_other and source.name != _FROM_SET:
            causes.append(f"spine changed: {source.name} is not what the set was made of")
        count, content = content_of(again, rows.columns)
        if content != output["content_sha256"]:
            found = _differences(manifest["found_at"], again, output["columns"], rows.columns)
            causes += found or ["values differ: made again, the set has another content hash"]
    return causes, count


def _beside(manifest: Path, out: Path) -> Path:
    """Where the set is: as the manifest says, else beside the manifest, should both have moved."""
    return out if out.is_file() else manifest.with_name(out.name)


def _output_causes(out: Path, output: Mapping[str, Any]) -> list[str]:
    import duckdb

    if not out.is_file():
        return [f"output missing: {out}"]
    try:
        found = content_of(out, list(output["columns"]))
    except duckdb.Error as error:
        return [
            f"output edited: {out} cannot be read as it was written: {str(error).splitlines()[0]}"
        ]
    if found != (output["rows"], output["content_sha256"]):
        return [f"output edited: {out} holds other rows or values than when it was written"]
    return []


def _snapshot_causes(recipe: Recipe, lake: Lake) -> list[str]:
    try:
        found = snapshots_of(lake, all_snapshots(recipe))
        for snapshots in found.values():
            if snapshots:
                relation_sql(snapshots)
    except LakeError as error:
        return [f"snapshot gone: {error.message}"]
    return []


def _erased(recipe: Recipe, lake: Lake) -> list[str]:
    """What erasure took from the snapshots since (rule 9), a line for each table."""
    found = []
    for table, ids in all_snapshots(recipe).items():
        lost = {one: rows for one, rows in lake.erased(table).items() if one in ids}
        if lost:
            rows = f"{sum(lost.values()):,} rows of {len(lost)} snapshots"
            found.append(f"erased: {table} lost {rows}")
    return found


def _file_of(said: Mapping[str, Any]) -> tuple[SpineSource | None, list[str]]:
    """The spine's file, None where it is gone, and what is wrong with it."""
    path = Path(said["path"])
    if not path.is_file():
        return None, [f"spine missing: {path}"]
    changed = file_hash(path) != said["sha256"]
    return file_spine(path), [f"spine changed: {path} has another hash"] if changed else []


def _spine_of(manifest: Mapping[str, Any], recipe: Recipe, out: Path, scratch: Path) -> SpineSource:
    """The spine's columns of the set: they are its first ones, in its order, and its hash says they are untouched."""
    import duckdb

    added = sum(len(answer_columns(table, recipe.added)) for table in recipe.answered)
    added += 0 if recipe.computed is None else len(recipe.computed.features)
    columns = manifest["output"]["columns"]
    path = scratch / "spine.parquet"
    kept = ", ".join(quote(name) for name in columns[: len(columns) - added])
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f"COPY (SELECT {kept} FROM read_parquet({literal(str(out))})) "
            f"TO {literal(str(path))} (FORMAT parquet)"
        )
    return model_spine(_FROM_SET, path)


def _notes(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """What is not as it was when the set was made, and may be why values differ."""
    notes = []
    now = versions()
    for name, then in sorted(manifest["versions"].items()):
        if now.get(name) != then:
            notes.append(f"other library: {name} was {then}, is {now.get(name, 'not installed')}")
    project = Path(manifest["project"])
    commit = git_sha(project)
    if manifest["git_sha"] is not None and commit != manifest["git_sha"]:
        notes.append(f"other code: {project} was at {manifest['git_sha']}, is at {commit}")
    return tuple(notes)


def _differences(out: Path, again: Path, before: Sequence[str], now: Sequence[str]) -> list[str]:
    """What differs between the set as it is and the set made again: columns, rows, then values with their place."""
    import duckdb

    if list(before) != list(now):
        return [f"columns differ: {', '.join(sorted({*before}.symmetric_difference(now)))}"]
    if not out.is_file():
        return []
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        numbered = "read_parquet({}, file_row_number=true)"
        connection.execute(f"CREATE VIEW was AS SELECT * FROM {numbered.format(literal(str(out)))}")
        connection.execute(
            f"CREATE VIEW is_now AS SELECT * FROM {numbered.format(literal(str(again)))}"
        )
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM was), (SELECT count(*) FROM is_now)"
        ).fetchall()[0]
        if counts[0] != counts[1]:
            return [f"rows differ: the set has {counts[0]:,}, made again it has {counts[1]:,}"]
        found = []
        for name in now:
            found += _of_column(connection, name)
        return found


def _of_column(connection: Any, name: str) -> list[str]:  # noqa: ANN401 - a DuckDB connection
    column = quote(name)
    rows = connection.execute(
        f"SELECT file_row_number, was.{column}::VARCHAR, is_now.{column}::VARCHAR, count(*) OVER () "
        f"FROM was JOIN is_now USING (file_row_number) "
        f"WHERE was.{column}::VARCHAR IS DISTINCT FROM is_now.{column}::VARCHAR "
        f"ORDER BY file_row_number LIMIT {_SHOWN}"
    ).fetchall()
    if not rows:
        return []
    shown = "; ".join(f"row {row[0]}: was {row[1]}, is {row[2]}" for row in rows)
    return [f"value differs: {name} in {rows[0][3]:,} rows ({shown})"]
