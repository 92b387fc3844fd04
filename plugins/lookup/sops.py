"""A value of a file that SOPS encrypted; all but Ansible's side of it is in stepdown/sops.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # Ansible finds plugins by path, and the package stands where it is used

from stepdown import sops  # noqa: E402 - after the line that makes it importable
from stepdown.errors import StepdownError  # noqa: E402

DOCUMENTATION = r"""
name: sops
short_description: Values of a file that SOPS encrypted
description:
  - Decrypts a YAML or JSON file with C(sops) and returns the text under a top-level key.
  - An error names the file, the key and the command to type, and never a value.
options:
  _terms: {description: Paths of encrypted files, required: true}
  key: {description: Name of the top-level key, type: str, required: true}
notes:
  - The age key is found by sops itself; C(SOPS_AGE_KEY_FILE) names its file.
  - A file is decrypted once in each process of Ansible that needs it, and kept in its memory only.
"""
EXAMPLES = r"""
mcp_stack_zen_api_key: "{{ lookup('ansible.legacy.sops', inventory_dir ~ '/secrets.sops.yml', key='zen_api_key') }}"
"""
RETURN = r"""
_raw: {description: The text under the key, one for each file, type: list, elements: str}
"""


class LookupModule(LookupBase):
    """`lookup('ansible.legacy.sops', FILE, key=NAME)`."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        key = self.get_option("key")
        try:
            return [sops.value(Path(term), key) for term in terms]
        except StepdownError as error:
            raise AnsibleLookupError(str(error)) from None
