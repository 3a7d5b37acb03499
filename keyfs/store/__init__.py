"""Named blobs on one medium. Knows nothing of Acra."""
