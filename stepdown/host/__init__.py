"""The host agent: the one program that changes what runs on a host.

Owns: <home> on the host, and every container, network and route of its instance. Reads: staged releases (JSON).
Never: a registry, YAML, Ansible, or anything outside the standard library and stepdown.{commands,errors,run,shared}.
"""
