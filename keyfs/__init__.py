"""keyfs: an Acra key store mounted as files."""
