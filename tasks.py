"""Collects the command line: every task lives in stepdown/cli/."""

from stepdown.cli import namespace

ns = namespace()
