"""What settings show of themselves."""

from __future__ import annotations

from featmill.settings import Settings


def test_the_stores_url_is_not_shown_for_it_may_hold_a_password():
    settings = Settings(redis_url="redis://u:secret@h:1/0")

    assert "secret" not in repr(settings)
    assert "secret" not in str(settings)
    assert settings.redis_url == "redis://u:secret@h:1/0"
