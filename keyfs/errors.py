"""Every error keyfs raises on purpose, named for what the caller can do about it.

The message is one line for a human and never holds key bytes. Two tables give each class its number:
`keyfs.fs.replies.ERRNO` for programs behind the mount, `keyfs.cli.exitcodes.EXIT_CODES` for scripts.
"""


class KeyfsError(Exception):
    """Root of the tree; never raised itself."""


class InvalidName(KeyfsError):
    """A purpose, client id, version or path that cannot exist; use another name."""


class ClientIdTooLong(InvalidName):
    """A valid client id whose file names do not fit on this medium; use a shorter id."""


class InvalidMaterial(KeyfsError):
    """The bytes offered as a key have the wrong length or form; nothing was changed."""


class InvalidSettings(KeyfsError):
    """An option, an environment variable or a line of the configuration file is wrong."""


class KeyNotFound(KeyfsError):
    """No such key, or no such version of it."""


class KeyExists(KeyfsError):
    """The key exists already; rotate it instead."""


class AccessDenied(KeyfsError):
    """The caller may not do this; nothing was changed."""


class OperationRefused(KeyfsError):
    """Never allowed on a key, whoever asks."""


class QuotaExceeded(KeyfsError):
    """A user has as many scratch files as one may have; remove some."""


class ClientNotEmpty(KeyfsError):
    """A client's directory that holds a key cannot be removed."""


class ReadOnly(KeyfsError):
    """The mount or the medium below it is read-only."""


class InsecurePermissions(KeyfsError):
    """A file or directory of the key store is open to others; Acra would refuse it too."""


class MasterKeyUnavailable(KeyfsError):
    """No usable master key where the URI points."""


class KeyServiceUnavailable(KeyfsError):
    """The KMS, Vault or HSM that holds a key does not answer, or not now; it may later."""


class MasterKeyWrong(KeyfsError):
    """A well-formed master key that opens nothing in this key store."""


class UnsealFailed(KeyfsError):
    """A blob does not open. One class, no reason: wrong key, wrong context and damage look alike."""


class MaterialCorrupt(KeyfsError):
    """A blob opened, or lies in plain, but what it holds is not a key of its kind."""


class RingInvalid(KeyfsError):
    """A key ring of layout v2 whose form or signature does not hold; nothing in it is used."""


class RotationConflict(KeyfsError):
    """Someone else rotated the key since it was read; read it again and retry."""


class StoreBusy(KeyfsError):
    """Another writer holds the key store's lock; retry."""


class StoreFull(KeyfsError):
    """The medium has no room; nothing was changed."""


class StoreUnavailable(KeyfsError):
    """The medium does not answer, or answers with an error; it may work later."""


class StoreInvalid(KeyfsError):
    """The place named is not a key store, or not an empty place for a new one."""


class LayoutUnsupported(KeyfsError):
    """The key store has a layout that this version of keyfs does not handle."""


class MountFailed(KeyfsError):
    """The mount, or the unmount, could not be done; the message holds the command that mends it."""


class NotMounted(MountFailed):
    """No keyfs is mounted there."""
