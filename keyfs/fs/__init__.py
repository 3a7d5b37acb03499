"""The kernel's side: inodes, handles, errno. Translates, decides nothing."""
