"""The command line: flags, exit codes, nothing else."""
