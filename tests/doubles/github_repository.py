"""What GitHub has in tests: the repository octo-org/hello, as documents in the form of GitHub's REST reference."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

REPOSITORY = "/repos/octo-org/hello"
HEAD = "c0ffee" + "0" * 34


def links(path: str) -> dict[str, str]:
    return {"url": f"https://api.example{path}", "html_url": f"https://github.example{path}", "node_id": "MDQ6"}


PERSON = {"login": "octocat", "id": 1, "avatar_url": "https://avatars.example/1", **links("/octocat")}
OWNER = {**PERSON, "login": "octo-org", "id": 2}
HELLO = {
    "id": 1296269, "name": "hello", "full_name": "octo-org/hello", "owner": OWNER, "private": False, "fork": False,
    "description": "Says hello", "language": "Python", "stargazers_count": 80, "forks_count": 9, "archived": False,
    "open_issues_count": 3, "default_branch": "main", "topics": ["hello"], "size": 108,
    "forks_url": "https://api.example/forks", **links("/octo-org/hello"),
}  # fmt: skip
FILES = {
    "README.md": b"# hello\n\nSays hello.\n",
    "src/hello.py": 'print("höllo")\n'.encode(),
    "src/a file & more?.txt": b"spaces\n",
    "logo.png": b"\x89PNG\r\n\x1a\n\x00\xff",
    "big.bin": b"",
}
BIG = 5_000_000
DIFF = "diff --git a/README.md b/README.md\n--- a/README.md\n+++ b/README.md\n@@ -1 +1 @@\n-# hallo\n+# hello\n"
LABEL = {"id": 5, "name": "bug", "color": "f00", "default": True, "description": "Wrong", **links("/labels/bug")}
COMMIT = {
    "sha": HEAD, "author": PERSON, "committer": PERSON, "parents": [], **links(f"/commit/{HEAD}"),
    "commit": {"message": "Say hello", "author": {"name": "Octo", "date": "2026-01-01T00:00:00Z"}},
}  # fmt: skip
COMMITS = [COMMIT, *({**COMMIT, "sha": f"{number:040x}"} for number in range(1, 5))]
CHANGED = {
    "filename": "README.md",
    "status": "modified",
    "additions": 1,
    "patch": "@@ -1 +1 @@",
    "raw_url": "https://x",
}
CHECK = {"id": 3, "name": "test", "status": "completed", "conclusion": "success", "details_url": "https://ci.example"}
STATES = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}


def file(url: str, path: str) -> dict[str, Any]:
    content = FILES[path]
    big = path == "big.bin"
    return {
        **entry(url, path),
        "size": BIG if big else len(content),
        "encoding": "none" if big else "base64",
        "content": "" if big else base64.encodebytes(content).decode(),
    }


def entry(url: str, path: str) -> dict[str, Any]:
    where = f"{url}{REPOSITORY}/contents/{path}"
    sha = hashlib.sha1(FILES[path], usedforsecurity=False).hexdigest()
    return {"type": "file", "name": path.rpartition("/")[2], "path": path, "sha": sha, "size": len(FILES[path]),
            "git_url": where, "download_url": where, **links(f"/octo-org/hello/blob/main/{path}")}  # fmt: skip


def issue(number: int, state: str = "open", **more: Any) -> dict[str, Any]:
    return {
        "number": number, "title": f"Issue {number}", "body": "Words", "state": state, "user": PERSON,
        "labels": [LABEL], "assignees": [PERSON], "comments": 1, "created_at": "2026-01-01T00:00:00Z", **more,
        **links(f"/octo-org/hello/issues/{number}"),
    }  # fmt: skip


def pull(number: int) -> dict[str, Any]:
    head = {"label": "octo-org:topic", "ref": "topic", "sha": HEAD, "user": OWNER, "repo": HELLO}
    base = {**head, "label": "octo-org:main", "ref": "main"}
    return {
        **issue(number),
        "title": f"Pull {number}",
        "head": head,
        "base": base,
        "draft": False,
        "_links": {"self": {}},
    }


ISSUES = [issue(1), issue(2, "closed"), issue(7, pull_request={"url": "https://x"}), issue(3), issue(4)]
