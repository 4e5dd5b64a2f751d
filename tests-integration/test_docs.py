"""What the documentation says, held against the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_tables_are_up_to_date() -> None:
    command = [sys.executable, "tools/make_reference.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_pages_with_tables_have_their_marks() -> None:
    # Without them nothing would be checked.
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    marks = re.findall(r"<!-- made by tools/make_reference\.py: (\w+) -->", text)
    assert sorted(marks) == ["httptools", "options", "parser", "reading", "writing"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_that_is_shown_compiles(page: Path) -> None:
    for number, source in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)):
        compile(source, f"{page.name}, program {number + 1}", "exec")


def test_the_readme_has_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "\npip install -r requirements.txt && esg examples.hello:app\n" in text
    assert "\npip install tox && tox\n" in text


def test_the_readmes_program_is_the_example() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    example = (ROOT / "examples/hello.py").read_text(encoding="utf-8")
    assert example[example.index("async def app") :] in text
