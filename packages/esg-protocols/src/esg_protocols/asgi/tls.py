"""The ``tls`` extension of a scope (ASGI TLS Extension 0.2): what a TLS connection knows of itself and its client."""

from __future__ import annotations

import ssl
import weakref
from collections.abc import Callable
from typing import Any

# The server's own certificate, or what tells it for the context of a connection: there may be several, and new ones.
ServerCert = str | Callable[[ssl.SSLContext], str | None] | None

# RFC 5246 appendix A.1 and RFC 8446 section 4.1.3, by OpenSSL's names.
TLS_VERSIONS = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

# The short names of RFC 4514 section 3; other attributes go by the long names that OpenSSL and LDAP share.
SHORT_NAMES = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}


def tls_extension(ssl_object: ssl.SSLObject | ssl.SSLSocket | None, server_cert: ServerCert) -> dict[str, Any] | None:
    """The value of ``scope["extensions"]["tls"]``, or None without TLS, when there must be none.

    Args:
        ssl_object: of the transport, after its handshake.
        server_cert: the server's own certificate as PEM, which OpenSSL does not give back, or what tells it.
    """
    if ssl_object is None:
        return None
    chain = _client_chain(ssl_object)
    return {
        "server_cert": server_cert(ssl_object.context) if callable(server_cert) else server_cert,
        "client_cert_chain": chain,
        "client_cert_name": _client_name(ssl_object) if chain else None,
        # A handshake whose client certificate does not verify fails, so there is never an error to tell.
        "client_cert_error": None,
        "tls_version": TLS_VERSIONS.get(ssl_object.version() or ""),
        "cipher_suite": _cipher_suite(ssl_object),
    }


def _client_chain(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> list[str]:
    """The client's certificates as PEM, its own first. Python tells of more than that one from 3.13 on."""
    own = ssl_object.getpeercert(binary_form=True)
    if not own:
        return []
    get_chain = getattr(ssl_object, "get_unverified_chain", None)
    return [ssl.DER_cert_to_PEM_cert(certificate) for certificate in (get_chain() if get_chain else [own])]


def _client_name(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> str | None:
    subject = (ssl_object.getpeercert() or {}).get("subject")
    return distinguished_name(subject) if subject else None


def distinguished_name(subject: Any) -> str:
    """A subject as :meth:`ssl.SSLSocket.getpeercert` has it, as one string (RFC 4514: the last part comes first)."""
    return ",".join("+".join(_attribute(*pair) for pair in part) for part in reversed(subject))


def _attribute(name: str, value: str) -> str:
    return f"{SHORT_NAMES.get(name, name)}={_escaped(value)}"


def _escaped(value: str) -> str:
    """RFC 4514 section 2.4."""
    text = "".join("\\" + char if char in '"+,;<>\\' else char for char in value).replace("\0", "\\00")
    if text.endswith(" "):
        text = text[:-1] + "\\ "
    return "\\" + text if text.startswith((" ", "#")) else text


def _cipher_suite(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> int | None:
    cipher, context = ssl_object.cipher(), ssl_object.context
    if cipher is None:
        return None
    if context not in _suites:
        # OpenSSL's numbers keep SSL 3's mark above the two bytes.
        _suites[context] = {cipher["name"]: cipher["id"] & 0xFFFF for cipher in context.get_ciphers()}
    return _suites[context].get(cipher[0])


# The numbers of the cipher suites that each context may choose from; telling them is slow.
_suites: weakref.WeakKeyDictionary[ssl.SSLContext, dict[str, int]] = weakref.WeakKeyDictionary()
