"""From the files that the options name to the contexts that TLS serves with."""

from __future__ import annotations

import datetime
import ssl
from dataclasses import dataclass
from typing import Any

from esg.config import Config, StartupError
from esg.hints import no_file

# What --ssl-version may be, as the numbers of Python's PROTOCOL_TLS, _TLSv1_2 and _TLS_SERVER, which uvicorn takes too.
ONLY_TLS12 = 5
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
# How often files that change while they are read are read again.
ATTEMPTS = 5


@dataclass(frozen=True)
class Certificate:
    """A server's own certificate, and what it says of itself."""

    path: str
    pem: str
    names: tuple[str, ...]
    begins: datetime.datetime
    ends: datetime.datetime

    def complaint(self, now: datetime.datetime) -> str | None:
        """Why clients will not take it today, if they will not."""
        if self.ends < now:
            return f"The certificate {self.path} expired on {self.ends:%Y-%m-%d}"
        if now < self.begins:
            return f"The certificate {self.path} is not valid before {self.begins:%Y-%m-%d}"
        return None


class Certificates:
    """What TLS serves with, all of it read at one time.

    Args:
        default: the context of every handshake; where there are several certificates, it chooses among the others.
        read: each certificate, by the context that has it.
    """

    def __init__(self, default: ssl.SSLContext, read: dict[ssl.SSLContext, Certificate]) -> None:
        self.default = default
        self.read = read
        self._exact: dict[str, ssl.SSLContext] = {}
        self._wildcards: dict[str, ssl.SSLContext] = {}
        for context, certificate in read.items():
            for name in certificate.names:
                place, key = (self._wildcards, name[2:]) if name.startswith("*.") else (self._exact, name)
                place.setdefault(key, context)
        if self.has_choice:
            default.sni_callback = self._choose

    @property
    def has_choice(self) -> bool:
        """Whether there are several, of which the client's server name (SNI) chooses one."""
        return len(self.read) > 1

    def complaints(self) -> list[str]:
        """What is wrong with certificates that can be served nevertheless."""
        now = datetime.datetime.now(datetime.timezone.utc)
        found = (certificate.complaint(now) for certificate in self.read.values())
        return [complaint for complaint in found if complaint is not None]

    def _choose(self, connection: Any, name: str | None, default: ssl.SSLContext) -> None:
        """Take the context for the server name that a client asks for (RFC 6066 section 3)."""
        name = (name or "").lower()
        # A wildcard is the whole first label, and no more than one (RFC 6125 section 6.4.3).
        context = self._exact.get(name) or self._wildcards.get(name.partition(".")[2])
        if context is not None:
            connection.context = context


def load(config: Config) -> Certificates:
    """Read what the options name, and check that it fits.

    Raises:
        StartupError: naming the option and what is wrong with the file or the value.
    """
    check_options(config)
    if config.ssl_context_factory is None:
        return _load_files(config)
    read: dict[ssl.SSLContext, Certificate] = {}

    def default() -> ssl.SSLContext:
        made = _load_files(config)
        read.update(made.read)
        return made.default

    context = config.ssl_context_factory(config, default)
    if not isinstance(context, ssl.SSLContext):
        raise StartupError(f"ssl_context_factory must return an ssl.SSLContext, not {type(context).__name__}")
    return Certificates(context, read if context in read else {})


def check_options(config: Config) -> None:
    """Refuse what would leave a server with less TLS than its options sound like."""
    certificates, keys = len(config.ssl_certfile), len(config.ssl_keyfile)
    if keys and not certificates and config.ssl_context_factory is None:
        raise StartupError("--ssl-keyfile without --ssl-certfile: there is no TLS without a certificate")
    if keys and keys != certificates:
        raise StartupError(
            f"{certificates} times --ssl-certfile, but {keys} times --ssl-keyfile: give one for each, in the same order"
        )
    if config.ssl_context_factory is not None:
        return
    if not certificates and (config.ssl_ca_certs or config.ssl_cert_reqs):
        given = "--ssl-ca-certs" if config.ssl_ca_certs else "--ssl-cert-reqs"
        raise StartupError(f"{given} without --ssl-certfile: there is no TLS without a certificate")
    if config.ssl_cert_reqs and not config.ssl_ca_certs:
        raise StartupError(f"--ssl-cert-reqs {config.ssl_cert_reqs} without --ssl-ca-certs: no client can be verified")


def _load_files(config: Config) -> Certificates:
    if not config.ssl_certfile:
        raise StartupError("ssl_context_factory asks for the default context, which needs ssl_certfile")
    keys = config.ssl_keyfile or (None,) * len(config.ssl_certfile)
    read = dict(_load_pair(config, *pair) for pair in zip(config.ssl_certfile, keys, strict=True))
    return Certificates(next(iter(read)), read)


def _load_pair(config: Config, certfile: str, keyfile: str | None) -> tuple[ssl.SSLContext, Certificate]:
    """One certificate with its key, both as they were at the same time."""
    for _ in range(ATTEMPTS):
        before = _contents(certfile, keyfile)
        _check_pem(certfile, keyfile, *before)
        context = _make_context(config)
        _load_chain(context, certfile, keyfile, config.ssl_keyfile_password)
        certificate = _read_certificate(certfile, before[0])
        if _contents(certfile, keyfile) == before:
            return context, certificate
    raise StartupError(f"--ssl-certfile {certfile}: it changes faster than it can be read")


def _make_context(config: Config) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[config.ssl_minimum_version]
    if config.ssl_version == ONLY_TLS12:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    # OpenSSL 3 refuses clients that want to negotiate again; OpenSSL 1.1.1 is told to.
    context.options |= ssl.OP_NO_COMPRESSION | getattr(ssl, "OP_NO_RENEGOTIATION", 0)
    context.set_alpn_protocols(["http/1.1"])
    context.verify_mode = ssl.VerifyMode(config.ssl_cert_reqs)
    if config.ssl_ca_certs:
        _load_authorities(context, config.ssl_ca_certs)
    if config.ssl_ciphers:
        try:
            context.set_ciphers(config.ssl_ciphers)
        except ssl.SSLError:
            raise StartupError(f"--ssl-ciphers {config.ssl_ciphers!r}: OpenSSL knows no cipher by that") from None
    return context


def _load_authorities(context: ssl.SSLContext, path: str) -> None:
    _contents_of("--ssl-ca-certs", path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise StartupError(f"--ssl-ca-certs {path}: there is no certificate in it, or not in PEM") from None


def _load_chain(context: ssl.SSLContext, certfile: str, keyfile: str | None, password: str | None) -> None:
    asked = False

    def tell() -> str:
        # Always given: OpenSSL would ask on the terminal otherwise.
        nonlocal asked
        asked = True
        if password is None:
            raise StartupError(
                f"The key in {keyfile or certfile} is encrypted: give its password with --ssl-keyfile-password, "
                "or better in the variable ESG_SSL_KEYFILE_PASSWORD"
            )
        return password

    try:
        context.load_cert_chain(certfile, keyfile, tell)
    except ssl.SSLError as error:
        if asked:
            raise StartupError(f"--ssl-keyfile-password: it is not the password of {keyfile or certfile}") from None
        pair = f"--ssl-certfile {certfile}" + (f", --ssl-keyfile {keyfile}" if keyfile else "")
        if error.reason == "KEY_VALUES_MISMATCH":
            raise StartupError(f"{pair}: the key does not belong to the certificate") from None
        raise StartupError(f"{pair}: OpenSSL cannot use them: {_reason(error)}") from None
    except ValueError as error:  # a password beyond what OpenSSL takes
        raise StartupError(f"--ssl-keyfile-password: {error}") from None


def _reason(error: ssl.SSLError) -> str:
    """``ee key too small``, from what OpenSSL says."""
    return (error.reason or str(error)).replace("_", " ").lower()


def _contents(certfile: str, keyfile: str | None) -> tuple[str, str]:
    certificate = _contents_of("--ssl-certfile", certfile)
    return certificate, certificate if keyfile is None else _contents_of("--ssl-keyfile", keyfile)


def _contents_of(option: str, path: str) -> str:
    try:
        with open(path, encoding="latin-1") as file:
            return file.read()
    except FileNotFoundError:
        raise StartupError(f"{option}: {no_file(path)}") from None
    except OSError as error:
        raise StartupError(f"{option}: {path!r} cannot be read: {error.strerror}") from None


def _check_pem(certfile: str, keyfile: str | None, certificate: str, key: str) -> None:
    if "-----BEGIN CERTIFICATE-----" not in certificate:
        raise StartupError(f"--ssl-certfile {certfile}: there is no certificate in it, or not in PEM")
    if "PRIVATE KEY-----" not in key:
        if keyfile is None:
            raise StartupError(f"--ssl-certfile {certfile}: there is no key in it; name its file with --ssl-keyfile")
        raise StartupError(f"--ssl-keyfile {keyfile}: there is no private key in it, or not in PEM")


def _read_certificate(path: str, text: str) -> Certificate:
    # The one reader of certificates that Python comes with; a private name, but there in every version.
    told: dict[str, Any] = ssl._ssl._test_decode_cert(path)  # type: ignore[attr-defined]
    begin, end = text.index("-----BEGIN CERTIFICATE-----"), "-----END CERTIFICATE-----"
    pem = text[begin : text.index(end, begin) + len(end)] + "\n"
    return Certificate(path, pem, _names(told), _date(told["notBefore"]), _date(told["notAfter"]))


def _names(told: dict[str, Any]) -> tuple[str, ...]:
    """The host names of a certificate; the subject's counts where there is no other (RFC 6125 section 6.4.4)."""
    names = [value for kind, value in told.get("subjectAltName", ()) if kind == "DNS"]
    if not names:
        names = [value for part in told["subject"] for kind, value in part if kind == "commonName"]
    return tuple(name.lower() for name in names)


def _date(told: str) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ssl.cert_time_to_seconds(told), datetime.timezone.utc)
