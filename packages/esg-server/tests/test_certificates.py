"""Certificates and keys: what fits is served, what does not is refused in one line that says why."""

from __future__ import annotations

import datetime
import os
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from esg import Config
from esg.certificates import Certificates, check_options, load
from esg.config import StartupError
from esg.tls import TLS

LONG_AGO = datetime.datetime(2021, 3, 4, 5, 6, 7, tzinfo=datetime.timezone.utc)
PASSWORD = "a password, not to be shown"


async def app(scope: Any, receive: Any, send: Any) -> None: ...


class Files:
    """An authority that puts certificates and keys into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = trustme.CA()
        self.root.cert_pem.write_to_path(folder / "authority.pem")

    def issue(self, *names: str, file: str = "own", password: str | None = None, **options: Any) -> tuple[str, str]:
        """The paths of a certificate and of its key."""
        issued = self.root.issue_cert(*names, **options)
        certificate, key = self.folder / f"{file}.pem", self.folder / f"{file}.key"
        certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        key.write_bytes(
            encrypted(issued.private_key_pem.bytes(), password) if password else issued.private_key_pem.bytes()
        )
        return str(certificate), str(key)

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return str(self.folder / name)


def encrypted(key: bytes, password: str) -> bytes:
    from cryptography.hazmat.primitives import serialization as form

    loaded = form.load_pem_private_key(key, None)
    how = form.BestAvailableEncryption(password.encode())
    return loaded.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, how)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("certificates"))


def make(certfile: Any = (), keyfile: Any = (), **options: Any) -> Config:
    return Config(app, ssl_certfile=certfile, ssl_keyfile=keyfile, **options)


def refused(config: Config) -> str:
    with pytest.raises(StartupError) as refusal:
        load(config)
    assert "\n" not in str(refusal.value)
    assert refusal.value.__cause__ is None
    return str(refusal.value)


Shake = Callable[..., ssl.SSLObject]


@pytest.fixture
def shake(files: Files) -> Shake:
    """A handshake in memory with what was loaded: the client's end of it."""

    def run(
        certificates: Certificates,
        name: str | None = "localhost",
        protocols: list[str] | None = None,
        **options: Any,
    ) -> ssl.SSLObject:
        trusting = ssl.create_default_context(cafile=str(files.folder / "authority.pem"))
        for option, value in options.items():
            setattr(trusting, option, value)
        trusting.set_alpn_protocols(protocols or [])
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trusting.wrap_bio(back, there, server_hostname=name)
        server = certificates.default.wrap_bio(there, back, server_side=True)
        left = [client, server]
        while left:
            for end in list(left):
                try:
                    end.do_handshake()
                    left.remove(end)
                except ssl.SSLWantReadError:
                    pass
        return client

    return run


# -- What is served


@pytest.mark.parametrize("name", ["one path", "a PathLike", "one file"])
def test_a_certificate_and_its_key(name: str, files: Files, shake: Shake) -> None:
    certificate, key = files.issue("localhost")
    if name == "one path":
        config = make(certificate, key)
    elif name == "a PathLike":
        config = make(Path(certificate), Path(key))
    else:
        both = files.write("both.pem", Path(key).read_text() + Path(certificate).read_text())
        config = make([both])
    assert config.is_ssl
    client = shake(load(config))
    assert (client.version(), client.compression()) == ("TLSv1.3", None)
    (read,) = load(config).read.values()
    assert ssl.PEM_cert_to_DER_cert(read.pem) == client.getpeercert(binary_form=True)


def test_without_options_there_is_no_tls() -> None:
    assert not make().is_ssl
    check_options(make())


def test_the_protocol_above_is_agreed_on(files: Files, shake: Shake) -> None:
    certificates = load(make(*files.issue("localhost")))
    assert shake(certificates, protocols=["h2", "http/1.1"]).selected_alpn_protocol() == "http/1.1"
    assert shake(certificates, protocols=["h2"]).selected_alpn_protocol() is None


def test_versions(files: Files, shake: Shake) -> None:
    pair = files.issue("localhost")
    both, only_3 = load(make(*pair)), load(make(*pair, ssl_minimum_version="1.3"))
    only_2 = load(make(*pair, ssl_version=5))
    assert shake(both, maximum_version=ssl.TLSVersion.TLSv1_2).version() == "TLSv1.2"
    assert shake(only_2).version() == "TLSv1.2"
    assert shake(only_3).version() == "TLSv1.3"
    with pytest.raises(ssl.SSLError):
        shake(only_3, maximum_version=ssl.TLSVersion.TLSv1_2)
    with pytest.raises(ssl.SSLError):
        shake(only_2, minimum_version=ssl.TLSVersion.TLSv1_3)


def test_ciphers(files: Files, shake: Shake) -> None:
    certificates = load(make(*files.issue("localhost"), ssl_ciphers="ECDHE+CHACHA20"))
    cipher = shake(certificates, maximum_version=ssl.TLSVersion.TLSv1_2).cipher()
    assert cipher is not None
    assert "CHACHA20" in cipher[0]


def test_a_key_with_a_password(files: Files, shake: Shake) -> None:
    config = make(*files.issue("localhost", password=PASSWORD), ssl_keyfile_password=PASSWORD)
    assert shake(load(config)).version()
    assert PASSWORD not in repr(config)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("localhost", "localhost"),
        ("shop.example", "shop.example"),
        ("SHOP.EXAMPLE", "shop.example"),
        ("a.wild.example", "*.wild.example"),
        ("own.wild.example", "own.wild.example"),
        ("a.b.wild.example", "localhost"),
        ("wild.example", "localhost"),
        ("nobody.example", "localhost"),
        ("", "localhost"),
    ],
)
def test_of_several_the_name_chooses(asked: str, shown: str, files: Files, shake: Shake) -> None:
    names = ("localhost", "shop.example", "*.wild.example", "own.wild.example")
    pairs = [files.issue(name, file=f"several{number}") for number, name in enumerate(names)]
    certificates = load(make(*zip(*pairs, strict=True)))
    assert certificates.has_choice
    client = shake(certificates, asked or None, check_hostname=False)
    cert = client.getpeercert()
    assert cert is not None
    assert cert["subjectAltName"] == (("DNS", shown),)


def test_one_certificate_needs_no_choice(files: Files) -> None:
    certificates = load(make(*files.issue("localhost")))
    assert not certificates.has_choice
    assert certificates.default.sni_callback is None


def test_the_subject_names_where_nothing_else_does(files: Files) -> None:
    certificates = load(make(*files.issue(common_name="Old.Example")))
    (read,) = certificates.read.values()
    assert read.names == ("old.example",)


def test_what_clients_will_not_take_is_served_with_a_warning(files: Files, caplog: Any) -> None:
    certificate, key = files.issue("localhost", not_before=LONG_AGO, not_after=LONG_AGO + datetime.timedelta(days=1))
    TLS(make(certificate, key))
    assert caplog.messages == [f"The certificate {certificate} expired on 2021-03-05"]
    caplog.clear()
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=3)
    TLS(make(*files.issue("localhost", not_before=soon, not_after=soon + datetime.timedelta(days=3))))
    assert caplog.messages == [f"The certificate {certificate} is not valid before {soon:%Y-%m-%d}"]


def test_a_factory_of_contexts(files: Files, shake: Shake) -> None:
    seen = []

    def factory(config: Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        context = default()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        seen.append((config, context))
        return context

    config = make(*files.issue("localhost"), ssl_context_factory=factory)
    certificates = load(config)
    assert seen == [(config, certificates.default)]
    with pytest.raises(ssl.SSLError):
        shake(certificates, maximum_version=ssl.TLSVersion.TLSv1_2)
    assert [read.names for read in certificates.read.values()] == [("localhost",)]


def test_a_factory_without_files() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    config = make(ssl_context_factory=lambda config, default: context)
    assert config.is_ssl
    assert load(config).default is context
    assert load(config).read == {}


# -- What is refused


def test_files_that_are_not_there(files: Files) -> None:
    certificate, key = files.issue("localhost", file="present")
    wrong = certificate.replace("present", "presnt")
    assert refused(make(wrong, key)) == (f"--ssl-certfile: there is no file {wrong!r}; did you mean {certificate!r}?")
    assert (
        refused(make(certificate, "/nowhere/key")) == "--ssl-keyfile: there is no directory '/nowhere' to find 'key' in"
    )
    assert "--ssl-ca-certs: there is no file '/nowhere'" in refused(make(certificate, key, ssl_ca_certs="/nowhere"))


def test_what_cannot_be_read(files: Files) -> None:
    folder = str(files.folder)
    assert refused(make(folder)) == f"--ssl-certfile: {folder!r} cannot be read: Is a directory"
    if os.geteuid():
        certificate, _ = files.issue("localhost")
        locked = files.write("locked.key", "")
        os.chmod(locked, 0)
        assert "cannot be read: Permission denied" in refused(make(certificate, locked))


def test_what_holds_something_else(files: Files) -> None:
    certificate, key = files.issue("localhost")
    der = files.folder / "der"
    der.write_bytes(ssl.PEM_cert_to_DER_cert(Path(certificate).read_text()))
    assert "no certificate in it, or not in PEM" in refused(make(der))
    assert "--ssl-certfile" in refused(make(key, certificate))
    assert "name its file with --ssl-keyfile" in refused(make(certificate))
    assert "no private key in it" in refused(make(certificate, certificate))
    assert "--ssl-ca-certs" in refused(make(certificate, key, ssl_ca_certs=str(der)))
    cut = files.write("cut.pem", Path(certificate).read_text()[:300])
    assert "OpenSSL cannot use them" in refused(make(cut, key))


def test_a_key_of_another_certificate(files: Files) -> None:
    certificate, _ = files.issue("localhost", file="one")
    _, key = files.issue("localhost", file="another")
    assert refused(make(certificate, key)) == (
        f"--ssl-certfile {certificate}, --ssl-keyfile {key}: the key does not belong to the certificate"
    )


@pytest.mark.parametrize("given", [None, "wrong", "", "x" * 2000], ids=["none", "wrong", "empty", "long"])
def test_passwords_that_do_not_fit(given: str | None, files: Files) -> None:
    certificate, key = files.issue("localhost", password=PASSWORD)
    message = refused(make(certificate, key, ssl_keyfile_password=given))
    assert "--ssl-keyfile-password" in message
    assert "encrypted" in message if given is None else "ssl_keyfile_password" not in message


def test_ciphers_that_nobody_knows(files: Files) -> None:
    message = refused(make(*files.issue("localhost"), ssl_ciphers="NO-SUCH-THING"))
    assert message == "--ssl-ciphers 'NO-SUCH-THING': OpenSSL knows no cipher by that"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ssl_keyfile": "x"}, "--ssl-keyfile without --ssl-certfile"),
        ({"ssl_certfile": ("a", "b"), "ssl_keyfile": "x"}, "2 times --ssl-certfile, but 1 times --ssl-keyfile"),
        ({"ssl_ca_certs": "x"}, "--ssl-ca-certs without --ssl-certfile"),
        ({"ssl_cert_reqs": 1}, "--ssl-cert-reqs without --ssl-certfile"),
        ({"ssl_cert_reqs": 2, "ssl_certfile": "x"}, "--ssl-cert-reqs 2 without --ssl-ca-certs"),
        ({"ssl_context_factory": lambda config, default: None}, "not NoneType"),
        ({"ssl_context_factory": lambda config, default: default()}, "needs ssl_certfile"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    assert message in refused(Config(app, **options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ssl_cert_reqs": 3}, "ssl_cert_reqs: 3 is not from 0 to 2"),
        ({"ssl_version": 3}, "ssl_version: 3 is TLS 1.0, which is not secure; 17"),
        ({"ssl_version": 4}, "ssl_version: 4 is TLS 1.1"),
        ({"ssl_version": 16}, "ssl_version: 16 is not 17"),
        ({"ssl_minimum_version": "1.1"}, "ssl_minimum_version: '1.1' is not one of 1.2, 1.3"),
        ({"ssl_reload_interval": -1}, "ssl_reload_interval: -1"),
        ({"ssl_transport": "openssl"}, "ssl_transport: 'openssl' is not one of"),
    ],
)
def test_values_that_options_do_not_take(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Config(app, **options)


def test_aiofastnet_cannot_choose(files: Files) -> None:
    """It would crash: it hands OpenSSL contexts whose callbacks expect Python's own objects."""
    pytest.importorskip("aiofastnet")
    pairs = [files.issue(name, file=f"two{name}") for name in ("a", "b")]
    several = {"ssl_certfile": [pair[0] for pair in pairs], "ssl_keyfile": [pair[1] for pair in pairs]}
    with pytest.raises(StartupError, match="serves one certificate, not several"):
        TLS(Config(app, **several, ssl_transport="aiofastnet"))
    TLS(Config(app, **several))
