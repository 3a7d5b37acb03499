"""`keyfs` under cProfile; what that finds goes to a file. It ends without the interpreter's ways of ending.

python profiled.py FILE ARGUMENT...
"""

import cProfile
import sys

from keyfs.cli.main import exit_code, leave

if __name__ == "__main__":
    profiler = cProfile.Profile()
    code = profiler.runcall(exit_code, sys.argv[2:])
    profiler.dump_stats(sys.argv[1])
    leave(code)
