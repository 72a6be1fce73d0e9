"""The Redis sink: a published snapshot, online in Feast's own bytes, and the proof that it is."""

from exporters.redis.export import export_view
from exporters.redis.job import ExportJob, ExportResult
from exporters.redis.parity import ParityJob, compare_rows, verify_view
from exporters.redis.report import Difference, ParityReport
from exporters.redis.retire import RetiredView, retire_view
from exporters.redis.sample import Sample
from exporters.redis.snapshot import SnapshotRows, export_snapshot, is_written

__all__ = [
    "Difference",
    "ExportJob",
    "ExportResult",
    "ParityJob",
    "ParityReport",
    "RetiredView",
    "Sample",
    "SnapshotRows",
    "compare_rows",
    "export_snapshot",
    "export_view",
    "is_written",
    "retire_view",
    "verify_view",
]
