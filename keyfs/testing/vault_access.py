"""Tokens, policies and logins of the Vault double. See `keyfs.testing.vault_double`."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from keyfs.testing.vault_engines import UNSUPPORTED, Asked, Said, bad_request

Policy = Mapping[str, frozenset[str]]
"""From a path, `*` at its end for what begins with it, to what is allowed: read, list, write, delete."""

ROOT: Final[Policy] = {"*": frozenset({"read", "list", "write", "delete"})}
READ: Final = frozenset({"read"})
WRITE: Final = frozenset({"write"})


@dataclass
class Token:
    """What a token may do, and until when (by the monotonic clock; None for ever)."""

    policy: Policy = field(default_factory=lambda: ROOT)
    ends_at: float | None = None

    def is_expired(self, now: float) -> bool:
        """Whether its time is over."""
        return self.ends_at is not None and now >= self.ends_at

    def allows(self, path: str, action: str) -> bool:
        """Whether the policy has a line for it."""
        return any(action in allowed for pattern, allowed in self.policy.items() if _matches(pattern, path))

    def reaches_into(self, mount: str) -> bool:
        """Whether any line is about something in *mount*."""
        return any(
            f"{pattern}/".startswith(f"{mount}/") or _matches(pattern, mount) or pattern == f"{mount}*"
            for pattern in self.policy
        )


@dataclass
class Role:
    """Who logs in gets a token of this policy."""

    secret: str  # the secret id, or the service account's JWT
    policy: Policy = field(default_factory=lambda: ROOT)
    lasts_s: float = 600.0


@dataclass
class Access:
    """All tokens, and the roles by the mount of their login."""

    tokens: dict[str, Token] = field(default_factory=dict)
    app_roles: dict[str, dict[str, Role]] = field(default_factory=dict)  # mount, role id
    pods: dict[str, dict[str, Role]] = field(default_factory=dict)  # mount, role name

    def login(self, asked: Asked) -> Said | None:
        """The answer to a login; None when the path is none of a login."""
        mount = asked.path.removeprefix("auth/").removesuffix("/login")
        if asked.path != f"auth/{mount}/login" or mount not in self.app_roles.keys() | self.pods.keys():
            return None
        if asked.action != "write":
            return UNSUPPORTED
        if mount in self.app_roles:
            return self._app_role(self.app_roles[mount], asked)
        return self._pod(self.pods[mount], asked)

    def own(self, text: str, token: Token, asked: Asked) -> Said | None:
        """What every token may do with itself, as Vault's policy `default` allows; None for other paths."""
        if (asked.path, asked.action) == ("auth/token/lookup-self", "read"):
            left = 0 if token.ends_at is None else int(token.ends_at - time.monotonic())
            return Said(200, {"id": text, "ttl": left, "policies": ["default"]})
        if (asked.path, asked.action) == ("auth/token/revoke-self", "write"):
            del self.tokens[text]
            return Said(204)
        return None

    def _app_role(self, roles: Mapping[str, Role], asked: Asked) -> Said:
        if asked.body.keys() != {"role_id", "secret_id"}:
            return bad_request("missing role_id")
        role = roles.get(str(asked.body["role_id"]))
        if role is None or not secrets.compare_digest(role.secret, str(asked.body["secret_id"])):
            return bad_request("invalid role or secret ID")
        return self._granted(role)

    def _pod(self, roles: Mapping[str, Role], asked: Asked) -> Said:
        if asked.body.keys() != {"role", "jwt"}:
            return bad_request("missing jwt")
        role = roles.get(str(asked.body["role"]))
        if role is None:
            return bad_request(f'invalid role name "{asked.body["role"]}"')
        if not secrets.compare_digest(role.secret, str(asked.body["jwt"])):
            return Said(403, errors=("permission denied",))
        return self._granted(role)

    def _granted(self, role: Role) -> Said:
        text = f"hvs.{secrets.token_hex(12)}"
        self.tokens[text] = Token(role.policy, time.monotonic() + role.lasts_s)
        return Said(200, {"client_token": text, "lease_duration": int(role.lasts_s)})


def _matches(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern
