"""mcp_host: hosts one or several MCP servers behind one HTTP port of a container.

Owns: the processes of its stdio servers, their readiness, authentication, and the typed errors that clients see.
Reads: MCP_HOST_CONFIG, the token file, the plan file, secret files.
Never: sends a call twice, logs a token or a call's arguments.
"""
