"""``python -m esg`` is the ``esg`` command."""

from esg.cli import main

main(prog_name="esg")
