"""ResolvedPlan to plain data: compose files, gateway configuration, the agent's view.

Owns: the shape of generated files. Reads: a ResolvedPlan. Never: writes a file, knows a host or a secret.
"""
