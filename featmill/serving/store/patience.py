"""How long readers wait for what is no request's: in the background, so it bounds recovery and no answer. Seconds."""

from __future__ import annotations

#: A connection may take this long to be made.
CONNECTING = 2.0

#: A server that is asked which nodes there are: the next one may know, while a frozen one is waited for.
ASKING = 0.4

#: The first look at the store when a reader is opened.
WARM_UP = 2.0
