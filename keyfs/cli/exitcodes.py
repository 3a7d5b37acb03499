"""One exit code for each kind of failure. Scripts depend on them: add, never change."""

from typing import Final

from keyfs import errors

OK: Final = 0
FINDINGS: Final = 1  # `check`, `doctor`, `status`: looked, and something is wrong
USAGE: Final = 2
BUG: Final = 70  # sysexits.h: EX_SOFTWARE
INTERRUPTED: Final = 130

EXIT_CODES: Final[dict[type[errors.KeyfsError], int]] = {
    errors.InvalidSettings: 2,
    errors.InvalidName: 3,
    errors.ClientIdTooLong: 3,
    errors.KeyNotFound: 4,
    errors.KeyExists: 5,
    errors.InvalidMaterial: 6,
    errors.MasterKeyUnavailable: 7,
    errors.MasterKeyWrong: 8,
    errors.UnsealFailed: 9,
    errors.MaterialCorrupt: 9,
    errors.RingInvalid: 9,
    errors.AccessDenied: 10,
    errors.InsecurePermissions: 11,
    errors.OperationRefused: 12,
    errors.QuotaExceeded: 12,
    errors.ClientNotEmpty: 12,
    errors.ReadOnly: 13,
    errors.RotationConflict: 14,
    errors.StoreBusy: 14,
    errors.StoreFull: 15,
    errors.StoreUnavailable: 16,
    errors.StoreInvalid: 17,
    errors.LayoutUnsupported: 18,
    errors.MountFailed: 19,
    errors.NotMounted: 20,
    errors.KeyServiceUnavailable: 21,
}
