"""keyfs works, without a word, in every way in which `import pythemis` can fail.

Each way is brought about for real and proven by importing pythemis plainly first.
"""

import os
import pkgutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from themis_oracle import tool

import keyfs.seal

ROOT = Path(__file__).parents[2]

IMPORT_PYTHEMIS = """
try:
    import pythemis
except Exception as exc:
    print(type(exc).__name__)
else:
    print("imported")
"""

USE_KEYFS = """
from keyfs.core.secret import Secret
from keyfs.seal.registry import available_engines, open_sealer

sealer = open_sealer(Secret(b"k" * 32))
assert sealer.unseal(sealer.seal(Secret(b"plaintext"), b"c"), b"c").reveal() == b"plaintext"
themis = available_engines()[0]
print(sealer.engine, themis.usable, themis.remark)
"""


def run_python(source: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs it in a fresh interpreter, because this one may have loaded a libthemis."""
    command = [sys.executable, *options, "-c", source]
    clean = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    paths = os.pathsep.join(filter(None, [environment.pop("PYTHONPATH", ""), str(ROOT)]))
    return subprocess.run(
        command, env={**clean, **environment, "PYTHONPATH": paths}, check=True, capture_output=True, text=True
    )


def check_keyfs_copes(failure: str, remark: str, *options: str, **environment: str) -> None:
    """Fail unless pythemis fails with *failure* and keyfs works all the same and can say why."""
    plain = run_python(IMPORT_PYTHEMIS, *options, **environment).stdout.strip()
    if plain == "imported":
        pytest.skip("a libthemis is installed on this machine")
    assert plain == failure
    for filtered in ["-Walways", "-Werror"]:
        ran = run_python(USE_KEYFS, filtered, *options, **environment)
        assert ran.stderr == ""
        assert ran.stdout.startswith("pure False ")
        assert remark in ran.stdout


@pytest.fixture
def crippled_libthemis(tmp_path: Path) -> Path:
    """A folder with a libthemis.so.0 that cannot be loaded: the libsoter.so.0 it needs is gone."""
    gcc = tool("gcc")
    (tmp_path / "empty.c").write_text("int themis_test_marker;\n")
    build = [gcc, "-shared", "-fPIC", "empty.c", "-Wl,--no-as-needed"]
    for name, needs in [("soter", []), ("themis", ["-L.", "-l:libsoter.so.0"])]:
        library = f"lib{name}.so.0"
        subprocess.run([*build, f"-Wl,-soname,{library}", "-o", library, *needs], cwd=tmp_path, check=True)
    (tmp_path / "libsoter.so.0").unlink()
    return tmp_path


def test_no_library() -> None:
    remark = "libthemis.so.0 cannot be loaded: libthemis.so.0: cannot open shared object file"
    check_keyfs_copes("RuntimeError", remark)


def test_a_library_whose_own_library_is_missing(crippled_libthemis: Path) -> None:
    check_keyfs_copes("RuntimeError", "cannot be loaded", LD_LIBRARY_PATH=str(crippled_libthemis))


def test_a_library_for_developers_whose_own_library_is_missing(crippled_libthemis: Path) -> None:
    for needed_by_python in ("ld", "objdump"):
        tool(needed_by_python)
    (crippled_libthemis / "libthemis.so").symlink_to("libthemis.so.0")
    check_keyfs_copes("OSError", "libsoter.so.0", LD_LIBRARY_PATH=str(crippled_libthemis))


def test_no_pythemis(tmp_path: Path) -> None:
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith("pythemis"):
            (tmp_path / entry.name).symlink_to(entry)
    # -S: without the real folder of installed packages.
    check_keyfs_copes("ModuleNotFoundError", "pythemis cannot be imported", "-S", PYTHONPATH=str(tmp_path))


STARTED = """
import sys

def notice(name, _):
    if name.startswith(("subprocess", "os.posix_spawn", "os.fork")):
        print(name)

sys.addaudithook(notice)
"""


def test_looking_for_a_library_starts_no_other_program() -> None:
    """A compiler or linker found by PATH would get the master key, which is in the environment."""
    assert len(run_python(STARTED + USE_KEYFS).stdout.splitlines()) == 1


def test_importing_the_sealers_loads_nothing_that_may_be_missing() -> None:
    modules = [f"keyfs.seal.{module.name}" for module in pkgutil.iter_modules(keyfs.seal.__path__)]
    source = f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m)\nprint(*sys.modules)"
    loaded = run_python(source).stdout.split()
    assert set(modules) <= set(loaded)
    assert not {"pythemis", "boto3", "botocore", "redis"} & set(loaded)
