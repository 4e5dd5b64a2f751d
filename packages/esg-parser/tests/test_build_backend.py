"""The build backend: where vendor/ comes from, what it says when it cannot come, one build at a time."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

BACKEND = Path(__file__).parents[1] / "build_backend"
FILES = {"vendor/llhttp/src/api.c": b"int api;\n", "vendor/http-parser/LICENSE-MIT": b"licence\n"}


def load(name):
    spec = importlib.util.spec_from_file_location(name, BACKEND / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


vendored = load("vendored")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty checkout, and no way to any package index."""
    monkeypatch.delenv("ESG_PARSER_VENDOR", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    folder = tmp_path / "checkout"
    folder.mkdir()
    return folder


@pytest.fixture
def pin(tmp_path):
    path = tmp_path / "vendor.json"
    write_pin(path, "0" * 64)
    return path


def write_pin(path, archive_sha256):
    files = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    pin = {"name": "esg-test-carrier", "version": "1.0", "sha256": archive_sha256, "files": files}
    path.write_text(json.dumps(pin))


def write_folder(folder, files=FILES):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_archive(path, files=FILES):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"esg-test-carrier-1.0/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def assert_vendored(root):
    assert {name: (root / name).read_bytes() for name in FILES} == FILES
    assert [path.name for path in root.iterdir()] == ["vendor"]  # nothing half-made stays behind


def failure(root, pin):
    """Return the message of the failed call, which must be one sentence that names the way out."""
    with pytest.raises(vendored.VendorError) as caught:
        vendored.ensure_vendor(root, pin)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".") and ". " not in message
    assert "ESG_PARSER_VENDOR" in message
    return message


@pytest.mark.parametrize("write", [write_folder, write_archive])
def test_files_come_from_a_folder_or_an_archive(root, pin, tmp_path, monkeypatch, write):
    monkeypatch.setenv("ESG_PARSER_VENDOR", str(write(tmp_path / "source")))
    vendored.ensure_vendor(root, pin)
    assert_vendored(root)


@pytest.mark.parametrize("write", [write_folder, write_archive])
def test_altered_file_is_refused(root, pin, tmp_path, monkeypatch, write):
    altered = dict(FILES, **{"vendor/llhttp/src/api.c": b"int evil;\n"})
    monkeypatch.setenv("ESG_PARSER_VENDOR", str(write(tmp_path / "source", altered)))
    assert "vendor/llhttp/src/api.c" in failure(root, pin)
    assert list(root.iterdir()) == []


def test_incomplete_source_is_refused(root, pin, tmp_path, monkeypatch):
    monkeypatch.setenv("ESG_PARSER_VENDOR", str(tmp_path))
    assert "does not contain vendor/" in failure(root, pin)


def test_unreadable_archive_is_refused(root, pin, tmp_path, monkeypatch):
    (tmp_path / "source").write_bytes(b"not an archive")
    monkeypatch.setenv("ESG_PARSER_VENDOR", str(tmp_path / "source"))
    assert "cannot be read" in failure(root, pin)


def test_missing_source_is_named(root, pin, tmp_path, monkeypatch):
    monkeypatch.setenv("ESG_PARSER_VENDOR", str(tmp_path / "nowhere"))
    assert "does not exist" in failure(root, pin)


def test_no_index(root, pin):
    assert "could not download esg-test-carrier-1.0.tar.gz" in failure(root, pin)


def test_archive_with_another_hash_is_refused(root, pin, tmp_path, monkeypatch):
    write_archive(tmp_path / "esg-test-carrier-1.0.tar.gz")  # found by pip, and not what the pin names
    monkeypatch.setenv("PIP_FIND_LINKS", tmp_path.as_uri())
    assert "does not have the pinned sha256" in failure(root, pin)


def test_no_pip(root, pin, monkeypatch):
    answer = subprocess.CompletedProcess([], 1, "", f"{sys.executable}: No module named pip\n")
    monkeypatch.setattr(vendored.subprocess, "run", lambda *args, **kwargs: answer)
    assert "install pip" in failure(root, pin)


def test_nested_pip_does_not_see_the_running_hook(monkeypatch):
    monkeypatch.setenv("_PYPROJECT_HOOKS_BUILD_BACKEND", "esg_parser_build")
    assert not [name for name in vendored._pip_environment() if name.startswith("_PYPROJECT_HOOKS_")]


def test_right_files_are_left_alone(root, pin):
    write_folder(root)
    assert not vendored.must_download(root, pin)
    before = {name: (root / name).stat().st_mtime_ns for name in FILES}
    vendored.ensure_vendor(root, pin)  # the fixture's pip could not fetch
    assert {name: (root / name).stat().st_mtime_ns for name in FILES} == before


def test_a_wrong_file_is_replaced(root, pin, tmp_path, monkeypatch):
    write_folder(root, dict(FILES, **{"vendor/llhttp/src/api.c": b"int old;\n", "vendor/stray.c": b""}))
    assert vendored.must_download(root, pin)
    monkeypatch.setenv("ESG_PARSER_VENDOR", str(write_folder(tmp_path / "source")))
    assert not vendored.must_download(root, pin)
    vendored.ensure_vendor(root, pin)
    assert_vendored(root)
    assert not (root / "vendor/stray.c").exists()


def test_pin_lists_what_setup_py_compiles():
    pytest.importorskip("setuptools")
    pinned = json.loads((BACKEND / "vendor.json").read_text())["files"]
    for name in ("llhttp/src/api.c", "llhttp/src/http.c", "llhttp/src/llhttp.c", "http-parser/http_parser.c"):
        assert f"vendor/{name}" in pinned


HOLD_LOCK = """
import sys
sys.path.insert(0, sys.argv[1])
from native_build import build_lock
with build_lock(sys.argv[2]):
    print("locked", flush=True)
    sys.stdin.readline()
"""


def test_lock_keeps_a_second_build_waiting(root):
    pytest.importorskip("setuptools")
    fcntl = pytest.importorskip("fcntl")
    command = [sys.executable, "-c", HOLD_LOCK, str(BACKEND), str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as builder:
        assert builder.stdout.readline() == "locked\n"
        with open(root / ".build.lock", "w") as second:
            with pytest.raises(BlockingIOError):
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            builder.communicate("\n")
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.fixture
def native_build():
    pytest.importorskip("setuptools")
    return load("native_build")


def test_stale_copies_are_dropped(root, native_build):
    source, lib = root / "src/pkg", root / "build/lib.linux-x86_64-cpython-311/pkg"
    for folder in (source, lib):
        folder.mkdir(parents=True)
        (folder / "kept.py").write_text("same = True\n")
    (source / "changed.py").write_text("new = True\n")
    (source / "parser.pyx").touch()
    (lib / "changed.py").write_text("old = True\n")
    for name in ("gone.py", "gone.cpython-311-x86_64-linux-gnu.so", "parser.cpython-311-x86_64-linux-gnu.so"):
        (lib / name).touch()
    native_build.drop_stale_copies(root)
    assert {path.name for path in lib.iterdir()} == {"kept.py", "parser.cpython-311-x86_64-linux-gnu.so"}


TRANSLATE = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from native_build import translate
from setuptools import Extension
modules = translate([Extension(name, [f"src/{name}.pyx"]) for name in sys.argv[1:]])
assert [module.sources for module in modules] == [[f"build/cython/src/{name}.c"] for name in sys.argv[1:]]
"""


@pytest.fixture
def translate(root):
    """Have the C of modules made in the checkout, as a build does that has just begun."""
    pytest.importorskip("Cython")

    def translate(*names):
        for path in root.glob("src/*"):
            path.touch()  # It is the contents that count.
        subprocess.run([sys.executable, "-c", TRANSLATE, str(BACKEND), *names], cwd=root, check=True)

    return translate


def test_c_is_made_where_the_sources_are_others(root, translate):
    write_folder(root, {"src/module.pyx": b'include "part.pxi"\n', "src/module.pxd": b"\n", "src/part.pxi": b"\n"})
    translate("module")
    made = root / "build/cython/src/module.c"
    made.write_text(kept := made.read_text() + "// kept")
    translate("module")
    assert made.read_text() == kept
    for path in root.glob("src/*"):
        path.write_text(path.read_text() + "\n")
        translate("module")
        assert not made.read_text().endswith("// kept"), path
        made.write_text(made.read_text() + "// kept")


def test_c_that_comes_out_as_it_was_is_not_compiled_again(root, translate):
    write_folder(root, {f"src/{name}.pyx": b"number = 1\n" for name in ("kept", "changed")})
    translate("kept", "changed")
    kept, changed = (root / f"build/cython/src/{name}.c" for name in ("kept", "changed"))
    before = kept.stat().st_mtime_ns, changed.stat().st_mtime_ns
    (root / "src/changed.pyx").write_text("number = 2\n")
    translate("kept", "changed")
    assert kept.stat().st_mtime_ns == before[0] and changed.stat().st_mtime_ns > before[1]


def test_what_cannot_be_translated_is_never_taken_for_made(root, translate):
    write_folder(root, {"src/module.pyx": b"number = 1\n"})
    translate("module")
    write_folder(root, {"src/module.pyx": b"number =\n"})
    for _ in range(2):
        with pytest.raises(subprocess.CalledProcessError):
            translate("module")


def test_hook_holds_the_lock_while_it_runs(root, native_build):
    fcntl = pytest.importorskip("fcntl")

    def hook(answer):
        with open(root / ".build.lock", "w") as second, pytest.raises(BlockingIOError):
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return answer

    assert native_build.locked(root, hook)("wheel") == "wheel"


def test_hook_ends_with_the_sentence_and_no_traceback(root, monkeypatch, tmp_path):
    """The whole backend in a copy of the package, as a frontend runs it."""
    pytest.importorskip("setuptools")
    write_folder(root, {f"build_backend/{path.name}": path.read_bytes() for path in BACKEND.glob("*.*")})
    monkeypatch.setenv("ESG_PARSER_VENDOR", str(tmp_path / "nowhere"))
    code = "import esg_parser_build; esg_parser_build.build_wheel('.')"
    result = subprocess.run([sys.executable, "-c", code], cwd=root / "build_backend", capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ESG_PARSER_VENDOR names ")
    assert result.stderr.count("\n") == 1


COMPILE = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from native_build import CheckedBuildExt
from setuptools import Extension, setup
setup(name="esg-test", ext_modules=[Extension("test", ["test.c"])], cmdclass={"build_ext": CheckedBuildExt})
"""


def test_no_compiler_ends_with_the_sentence_and_no_traceback(root, monkeypatch):
    pytest.importorskip("setuptools")
    monkeypatch.setenv("CC", "no-such-cc")
    (root / "test.c").touch()
    command = [sys.executable, "-c", COMPILE, str(BACKEND), "build_ext"]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: esg-test is compiled from C and the compiler 'no-such-cc' was not found: ")
    assert line.endswith(".") and ". " not in line


def test_no_compiler(native_build, monkeypatch):
    from setuptools import Distribution
    from setuptools.errors import PlatformError

    command = native_build.CheckedBuildExt(Distribution({"name": "esg-parser"}))
    command.compiler = type("Compiler", (), {"compiler": ["no-such-cc"]})
    with pytest.raises(PlatformError, match=r"'no-such-cc' was not found: install one .* CC\.$"):
        command.build_extensions()
