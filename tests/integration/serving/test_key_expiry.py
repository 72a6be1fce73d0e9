"""`FEATMILL_ONLINE_EXPIRY`: keys go after their ttl, never before, and nobody is told otherwise (rule 12)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.integration.serving.chain import CLICKS, day

pytestmark = pytest.mark.redis

BRIEF = CLICKS.model_copy(update={"ttl": timedelta(days=2)})
#: The same keys, another view.
OTHER = BRIEF.model_copy(update={"name": "others", "ttl": timedelta(days=9)})
YEARS = timedelta(days=36_500)


def expiring(chain, grace):
    chain.settings = chain.settings.model_copy(update={"online_expiry": grace})


def ends(chain):
    """When the store drops each entity's key, in milliseconds; -1 never."""
    with chain.target.client() as client:
        keys = [k for k in client.scan_iter() if not k.startswith(b"featmill:")]
        return sorted(client.pexpiretime(key) for key in keys)


def millis(moment):
    return int(moment.timestamp() * 1000)


def test_keys_go_at_ttl_and_grace_and_stay_again_when_it_is_switched_off(chain):
    chain.tables = (BRIEF,)
    chain.publish(BRIEF, day(2), [(1, day(1), 10, "a"), (2, day(2), 20, "b")])
    chain.export()
    assert ends(chain) == [-1, -1]

    expiring(chain, "36500d")
    chain.export()
    assert ends(chain) == [millis(day(n) + BRIEF.ttl + YEARS) for n in (1, 2)]
    assert chain.verify().is_proof

    expiring(chain, None)
    chain.export()
    assert ends(chain) == [-1, -1]


def test_what_has_gone_is_no_difference_and_what_should_be_there_is(chain):
    chain.tables = (BRIEF,)
    chain.publish(BRIEF, day(2), [(1, day(1), 10, "a"), (2, day(2), 20, "b")])
    expiring(chain, "0s")  # all of March 2026 is past

    chain.export()

    assert ends(chain) == []
    (report,) = chain.verify().reports
    assert (report.is_proof, report.expired, report.checked_entities) == (True, 2, 2)


def test_a_view_that_is_past_takes_no_other_with_it(chain):
    chain.tables = (BRIEF, OTHER.model_copy(update={"ttl": YEARS}))
    rows = [(1, day(1), 10, "a")]
    chain.release(*(chain.snapshot(t, day(2), rows) for t in chain.tables))
    expiring(chain, "0s")

    chain.export()

    (end,) = ends(chain)
    assert end >= millis(day(1) + YEARS)
    assert [r.expired for r in chain.verify().reports] == [0, 0]


def test_a_view_without_ttl_keeps_the_keys_of_all(chain):
    chain.tables = (BRIEF,)
    rows = [(1, day(1), 10, "a")]
    chain.publish(BRIEF, day(2), rows)
    expiring(chain, "36500d")
    chain.export()
    assert ends(chain) != [-1]

    chain.tables = (BRIEF, OTHER.model_copy(update={"ttl": None}))
    chain.release(*(chain.snapshot(t, day(3), [(1, day(2), 10, "a")]) for t in chain.tables))
    chain.export()

    assert ends(chain) == [-1]
    assert chain.verify().is_proof


def test_a_sample_is_labelled(chain, capsys):
    from featmill.cli.export import show_verify
    from orchestration import online_steps

    chain.publish(CLICKS, day(2), [(user, day(1), user, "a") for user in range(400)])
    chain.export()

    found = online_steps.verify(chain.settings, sample="50%")
    show_verify(found)

    assert not found.is_proof
    assert 100 < found.reports[0].checked_entities < 300
    assert "Sampled, which proves nothing" in capsys.readouterr().out
    assert online_steps.verify(chain.settings, sample="400").is_proof, "all of them is no sample"
