"""github: repositories, issues, pull requests and reviews over GitHub's REST API, as MCP tools.

Owns: a cache of answers that GitHub revalidates, and an installation token of its GitHub App. Reads: its secret files.
Never: shows a credential, writes unless told that it may, reaches anything but the API's URL.
"""
