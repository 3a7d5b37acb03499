"""swtpm: a TPM 2.0 in a process of its own, and Debian's tpm2-tools to fill it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keyfs.testing.needed import need
from keyfs.testing.waiting import wait_until

WITHIN_S = 10


class SoftTPM:
    """A TPM whose state is the folder. `tcti` is what TPM2TOOLS_TCTI must name."""

    def __init__(self, folder: Path) -> None:
        need("swtpm", "tpm2_unseal")
        self._folder = folder  # a short path: it has sockets in it
        self.tcti = f"swtpm:path={folder}/s"

    @contextmanager
    def running(self) -> Iterator[None]:
        sockets = [self._folder / "s", self._folder / "s.ctrl"]
        process = subprocess.Popen(
            [
                "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self._folder}",
                "--server", f"type=unixio,path={sockets[0]}", "--ctrl", f"type=unixio,path={sockets[1]}",
                "--flags", "not-need-init,startup-clear",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_until(lambda: all(path.exists() for path in sockets))
            yield
            self.tool("shutdown", "-c")  # else the next start looks like an attack, and passwords lock
        finally:
            process.kill()
            process.wait(WITHIN_S)
            for path in sockets:
                path.unlink(missing_ok=True)

    def seal(self, text: bytes, handle: str, *options: str) -> None:
        """Make *text* a persistent object of the TPM."""
        self.tool("createprimary", "-c", "primary")
        self.tool("create", "-C", "primary", "-u", "public", "-r", "private", "-i", "-", *options, stdin=text)
        self.tool("load", "-C", "primary", "-u", "public", "-r", "private", "-c", "sealed")
        self.tool("evictcontrol", "-c", "sealed", handle)

    def tool(self, name: str, *arguments: str, stdin: bytes = b"") -> None:
        """Run a tool to its end. There is no resource manager: what others left in the TPM is flushed."""
        for line in (["tpm2_flushcontext", "-t"], [f"tpm2_{name}", *arguments]):
            done = subprocess.run(
                line,
                check=False,
                input=stdin,
                capture_output=True,
                cwd=self._folder,
                env=os.environ | {"TPM2TOOLS_TCTI": self.tcti},
                timeout=WITHIN_S,
            )
            assert done.returncode == 0, done.stderr.decode()
