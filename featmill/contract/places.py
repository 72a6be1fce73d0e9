"""Lines of yml: where a node, a column or a key is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from featmill.contract.nodes import Place

#: Where dbt puts packages unless told otherwise.
_PACKAGES = "dbt_packages"


class YamlFiles:
    """The yml files of a project and its packages, each read once and only if asked for."""

    def __init__(self, project: str, project_dir: Path) -> None:
        self._project = project
        self._project_dir = project_dir
        self._parsed: dict[str, Any] = {}

    def find(self, place: Place) -> tuple[str, int]:
        """The file, relative to the project, and the line of the nearest thing that is written.

        A key that is missing is found at its parent, a node that no yml names at the file's first
        line.
        """
        file = self._relative(place)
        reached = _deepest(self._entries(file, place), place.path)
        return file, reached + 1

    def _relative(self, place: Place) -> str:
        if place.package == self._project:
            return place.file
        return f"{_PACKAGES}/{place.package}/{place.file}"

    def _entries(self, file: str, place: Place) -> list[Any]:
        """What may hold the path: of a versioned model the version first, then the model."""
        node = _named(_get(self._read(file), place.section), place.name)
        versions = [v for v in _list(node, "versions") if str(_get(v, "v")) == place.version]
        holders = [*versions, node]
        if place.column is None:
            return [h for h in holders if h is not None]
        columns = [
            c for h in holders if (c := _named(_get(h, "columns"), place.column)) is not None
        ]
        return columns or [h for h in holders if h is not None]

    def _read(self, file: str) -> Any:  # noqa: ANN401 - a yml file holds anything
        if file not in self._parsed:
            self._parsed[file] = _parse(self._project_dir / file)
        return self._parsed[file]


def _parse(path: Path) -> Any:  # noqa: ANN401 - a yml file holds anything
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if path.suffix not in (".yml", ".yaml") or not path.is_file():
        return None
    loader = YAML(typ="rt")
    # The line of one of them is better than none; dbt has its own word on duplicates.
    loader.allow_duplicate_keys = True
    try:
        return loader.load(path.read_text(encoding="utf-8"))
    except YAMLError:
        # dbt read it when it wrote the manifest, so it was edited since: the line is unknown.
        return None


def _deepest(entries: list[Any], path: tuple[str | int, ...]) -> int:
    """The line, counted from 0, where the longest part of the path ends."""
    paths = [path]
    if path[:2] == ("config", "meta"):
        paths.append(path[1:])  # dbt still takes meta outside of config
    walks = [_walk(entry, way) for entry in entries for way in paths]
    return max(walks, key=lambda walk: walk[0], default=(0, 0))[1]


def _walk(entry: Any, path: tuple[str | int, ...]) -> tuple[int, int]:  # noqa: ANN401
    depth, line, here = 0, entry.lc.line, entry
    for step in path:
        position = (getattr(getattr(here, "lc", None), "data", None) or {}).get(step)
        if position is None:
            break
        depth, line, here = depth + 1, position[0], here[step]
    return depth, line


def _named(entries: Any, name: str) -> Any:  # noqa: ANN401 - yml
    found = [e for e in entries or [] if _get(e, "name") == name]
    return found[0] if found else None


def _list(node: Any, key: str) -> list[Any]:  # noqa: ANN401 - yml
    return list(_get(node, key) or [])


def _get(node: Any, key: str) -> Any:  # noqa: ANN401 - yml
    return node.get(key) if isinstance(node, dict) else None
