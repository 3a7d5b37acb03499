"""SoftHSM2: a real PKCS#11 module whose tokens are folders."""

import os
import subprocess
from pathlib import Path

from keyfs.testing.needed import lacking, need

PIN = "5678 %;?&"
MODULES = [
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),
    Path("/usr/local/lib/softhsm/libsofthsm2.so"),
]


class SoftHSM:
    """Tokens of a test's own. `conf` is what SOFTHSM2_CONF must name."""

    def __init__(self, place: Path) -> None:
        need("softhsm2-util")
        found = [path for path in MODULES if path.exists()]
        if not found:
            lacking("there is no libsofthsm2.so")
        self.module = found[0]
        self.conf = place / "softhsm2.conf"
        self.pin_file = place / "pin"
        self.pin_file.touch(mode=0o600)
        self.pin_file.write_text(f"{PIN}\n")
        tokens = place / "tokens"
        tokens.mkdir()
        self.conf.write_text(f"directories.tokendir = {tokens}\nlog.level = ERROR\n")

    def add_token(self, label: str) -> None:
        self._util("--init-token", "--free", "--label", label, "--so-pin", "1234", "--pin", PIN)

    def remove_token(self, label: str) -> None:
        self._util("--delete-token", "--token", label)

    def uri(self, path: str = "token=keyfs;object=acra", options: str = "") -> str:
        return f"pkcs11:{path}?module-path={self.module}&pin-source={self.pin_file}{options}"

    def _util(self, *arguments: str) -> None:
        done = subprocess.run(
            ["softhsm2-util", *arguments],
            check=False,
            env=os.environ | {"SOFTHSM2_CONF": str(self.conf)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
