"""heimdall: security scans of repositories and code, as MCP tools and REST, over the scan core of `invoke scan`.

Owns: the queue of scans and their results, in one SQLite file that two heimdalls may share.
Reads: the workspace, never outside it. Never: authenticates (mcp_host does), reaches a network, changes the workspace.
"""
