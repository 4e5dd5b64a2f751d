"""The scope of an exchange (ASGI HTTP specification, "HTTP Connection Scope"); all of it is for C callers."""

from typing_extensions import disjoint_base

@disjoint_base
class ScopeTemplate:
    """What the scopes of one connection have in common."""
