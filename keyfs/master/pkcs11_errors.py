"""What the errors of a PKCS#11 module mean, as a table."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pkcs11 import exceptions

from keyfs.errors import InvalidSettings, KeyfsError, KeyServiceUnavailable, MasterKeyUnavailable
from keyfs.master.pkcs11_uri import Pkcs11URI

# First match counts. The names are those of PKCS#11 (CKR_PIN_INCORRECT, ...).
_ERRORS: Final[tuple[tuple[tuple[type[Exception], ...], type[KeyfsError], str], ...]] = (
    (
        (exceptions.PinIncorrect, exceptions.PinInvalid, exceptions.PinLenRange),
        MasterKeyUnavailable,
        "the token refuses the PIN in {pin}; it counts wrong ones and locks itself: correct the PIN before "
        "you try again",
    ),
    (
        (exceptions.PinLocked,),
        MasterKeyUnavailable,
        "the token is locked after too many wrong PINs; let its security officer set a new one",
    ),
    (
        (exceptions.PinExpired, exceptions.UserPinNotInitialized),
        MasterKeyUnavailable,
        "the token wants a new PIN first; set one with its own tool",
    ),
    (
        (exceptions.UserNotLoggedIn,),
        InvalidSettings,
        "the token wants a PIN; name the file that has it: pin-source=FILE",
    ),
    (
        (exceptions.TokenWriteProtected, exceptions.SessionReadOnly),
        MasterKeyUnavailable,
        "the token is write-protected",
    ),
    (
        (
            exceptions.MechanismInvalid,
            exceptions.MechanismParamInvalid,
            exceptions.KeyTypeInconsistent,
            exceptions.KeySizeRange,
            exceptions.FunctionNotSupported,
        ),
        MasterKeyUnavailable,
        "the token does no AES-GCM with this key ({name})",
    ),
    (
        (
            exceptions.DeviceRemoved,
            exceptions.DeviceError,
            exceptions.DeviceMemory,
            exceptions.HostMemory,
            exceptions.FunctionFailed,
            exceptions.SessionClosed,
            exceptions.SessionCount,
            exceptions.SessionHandleInvalid,
            exceptions.TokenNotPresent,
        ),
        KeyServiceUnavailable,
        "the token does not answer ({name}); see that it is there, and try again",
    ),
    (
        (exceptions.PKCS11Error,),
        MasterKeyUnavailable,
        "module {module} reports {name}; see its configuration and its log",
    ),
)

UNOPENED: Final = (
    exceptions.EncryptedDataInvalid,
    exceptions.EncryptedDataLenRange,
    exceptions.DataInvalid,
    exceptions.DataLenRange,
    exceptions.GeneralError,
)
"""What modules say when they are to decrypt, and the tag does not fit; SoftHSM says GeneralError."""


@contextmanager
def translated(uri: Pkcs11URI) -> Iterator[None]:
    """Raise the errors of python-pkcs11 as ours.

    Raises:
        MasterKeyUnavailable, KeyServiceUnavailable, InvalidSettings: by the table above.
    """
    try:
        yield
    except exceptions.PKCS11Error as exc:
        error, words = next((error, words) for kinds, error, words in _ERRORS if isinstance(exc, kinds))
        said = words.format(name=type(exc).__name__, pin=uri.pin_file, module=uri.module)
        raise error(f"{uri.shown}: {said}") from None
