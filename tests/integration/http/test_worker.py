"""A worker's own process: how it begins and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys

from featmill.serving.http import options

ENDS = """
import duckdb  # the features that are computed on request need it
from featmill.serving.http.server import worker_app
worker_app()
"""


def test_a_worker_that_ends_has_nothing_to_say(tmp_path):
    told = options.ServeOptions(project_dir=tmp_path)
    variables = os.environ | {
        options.VARIABLE: told.model_dump_json(),
        "FEATMILL_HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", ENDS], env=variables, capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stderr) == (0, "")
