"""The scope of an exchange (ASGI HTTP specification, "HTTP Connection Scope"); all of it is for C callers."""

import asyncio

from typing_extensions import Self, disjoint_base

@disjoint_base
class ScopeTemplate:
    """What the scopes of one connection have in common."""

    def __new__(cls, transport: asyncio.Transport, root_path: str) -> Self: ...
