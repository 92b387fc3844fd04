"""Stepdown: four plans for a team's MCP servers, and the moves between them.

Owns: the truth's loader, its views, and the command line. Reads: catalog/. Never: executes anything outside run.py.
"""
