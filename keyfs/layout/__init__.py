"""Acra's layouts: which blob holds which key, in which order it must be written. Pure."""
