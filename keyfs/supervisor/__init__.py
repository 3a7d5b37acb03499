"""The supervisor: holds a mount for its workers. Runs alone, on nothing but the standard library."""
