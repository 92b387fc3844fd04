"""What this server refuses, or was refused by GitHub: one sentence for the caller."""

from __future__ import annotations


class RefusedError(Exception):
    """A call that has no answer. The message says where, what is wrong and what to do, and never holds a credential."""
