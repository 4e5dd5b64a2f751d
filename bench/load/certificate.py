"""A certificate for the servers of one run. Its key is elliptic (P-256), as most are that are issued today."""

from __future__ import annotations

from pathlib import Path


def paths(folder: str) -> tuple[str, str]:
    """The certificate and its key."""
    return f"{folder}/certificate.pem", f"{folder}/key.pem"


def write_certificate(folder: str, host: str) -> None:
    import trustme  # only where there is TLS

    issued = trustme.CA().issue_cert(host)
    certificate, key = paths(folder)
    Path(certificate).write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
