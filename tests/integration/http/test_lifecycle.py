"""`featmill serve` as people run it: workers, signals, and starts that cannot work."""

from __future__ import annotations

import re
import signal
import socket
import time

import httpx
import pytest

from tests.integration.http.process import SERVICE, ended, run, serving

pytestmark = [pytest.mark.redis, pytest.mark.dbt, pytest.mark.slow, pytest.mark.xdist_group("dbt")]


def body(depot):
    """A request for one entity of the service, whatever its keys are."""
    return {"service": SERVICE, "keys": {"depot_code": "N", "dock_no": 1, "van_plate": "AB-1"}}


def test_several_workers_answer_and_count_together(depot, port):
    presented = run(depot, "keys", "create", "--name", "workers").stdout.strip()
    headers = {"authorization": f"Bearer {presented}"}
    with serving(depot, port, "--workers", "2") as (process, client):
        assert client.post("/features", json=body(depot)).status_code == 401
        keys = client.get(f"/services/{SERVICE}", headers=headers).json()["keys"]
        sent = {
            "service": SERVICE,
            "keys": {one["name"]: body(depot)["keys"][one["name"]] for one in keys},
        }
        for _ in range(40):
            with httpx.Client(base_url=client.base_url, headers=headers, timeout=20) as another:
                assert another.post("/features", json=sent).status_code == 200
        text = client.get("/metrics", headers=headers).text
        code = ended(process)
        said = process.stderr.read()

    assert f'featmill_entities_total{{service="{SERVICE}"}} 40.0' in text
    started = re.findall(r'"event":"started"', said)
    assert len(started) == len(re.findall(r'"event":"stopped"', said)) == 2
    assert code == 0
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_it_drains_before_it_ends(depot, port):
    with serving(depot, port, "--no-auth", "--drain", "1.5") as (process, client):
        assert client.get("/readyz").json()["status"] == "ready"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        draining = client.get("/readyz")
        still = client.get("/services")
        code = process.wait(30)

    assert (draining.status_code, draining.json()["status"]) == (503, "stopping")
    assert still.status_code == 200
    assert code == 0


def test_a_clock_can_be_fixed(depot, port):
    with serving(depot, port, "--no-auth", "--as-of", "2026-03-06") as (process, client):
        page = client.get("/").text
        assert ended(process) == 0

    assert "2026-03-06 00:00:00 UTC" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--no-auth", "--host", "0.0.0.0"], "--no-auth on 0.0.0.0"),
        (["--host", "192.0.2.1"], "192.0.2.1:8815 cannot be listened on"),
        (["--port", "70000"], "--port"),
        (["--workers", "0"], "--workers"),
        (["--as-of", "noon"], "--as-of: 'noon' is no moment"),
        (["--log-share", "2"], "--log-share"),
    ],
    ids=" ".join,
)
def test_what_cannot_work_is_said(depot, words, said):
    done = run(depot, "serve", *words, check=False)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_said(depot):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(depot, "serve", "--port", str(taken.getsockname()[1]), check=False)

    assert done.returncode == 2
    assert "cannot be listened on" in done.stderr


COMPUTED = """exposures:
  - name: computing_model
    description: Has a feature that DuckDB computes.
    type: ml
    owner: {name: Fleet, email: fleet@example.org}
    depends_on:
      - ref('van__trips')
    config:
      meta:
        feature_service:
          request_fields:
            plate: text
          request_features:
            plate_reversed:
              data_type: text
              description: The plate from its end.
              sql: reverse(plate)
"""


def test_nothing_is_said_to_have_leaked(depot, port):
    """DuckDB's binding reports on standard error what the interpreter's end does not find; gc.freeze() hides it all."""
    (depot.root / "models" / "exposures" / "computing.yml").write_text(COMPUTED)
    asked = {
        "service": "computing_model",
        "keys": {"van_plate": "AB-1"},
        "request": {"plate": "1-BA"},
    }
    with serving(depot, port, "--no-auth") as (process, client):
        answer = client.post("/features", json=asked).json()
        code = ended(process)
        said = process.stderr.read()

    assert answer["values"]["plate_reversed"] == ["AB-1"]
    assert code == 0
    assert "nanobind" not in said
    assert '"event":"stopped"' in said
