"""Machines to try roles on: systemd containers reached over SSH, and what their scenarios assert (testinfra)."""
