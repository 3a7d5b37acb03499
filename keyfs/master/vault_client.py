"""A logged-in conversation with Vault or OpenBao, through hvac.

Follows the public HTTP API (api-docs: auth/token, auth/approle, auth/kubernetes). hvac and requests retry
nothing here, follow no redirect (the token would go along), and none of their exceptions leaves: they hold
request bodies, answers and headers. For the same reason our own errors are raised outside `except` blocks.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import hvac
import requests
from hvac.adapters import RawAdapter
from requests.adapters import HTTPAdapter

from keyfs.core.secret import Secret
from keyfs.errors import KeyfsError, MasterKeyUnavailable
from keyfs.master import vault_answers, vault_login
from keyfs.master.vault_answers import ANSWER_WITHIN_S, CONNECT_WITHIN_S, FORBIDDEN, Answer
from keyfs.master.vault_settings import VaultSettings

Response = Any  # hvac ships no types; with its RawAdapter every call returns a requests.Response
Call = Callable[[Any], Response]
"""One request, given the hvac client. Not a functools.partial: its repr shows the arguments."""


class Vault:
    """Asks one server. Made by `connected`."""

    def __init__(self, settings: VaultSettings, client: Any) -> None:  # noqa: ANN401 - hvac ships no types
        self._settings = settings
        self._client = client
        self._is_away = False
        self.where = f"Vault at {settings.address}"

    def ask(self, call: Call) -> Answer:
        """The answer to one request, refusals included.

        Raises:
            KeyServiceUnavailable: no answer in time, or one that says later (sealed, 429, 5xx, a redirect).
            InvalidSettings: what is at the address is not this Vault: TLS fails, or it is no Vault at all.
        """
        try:
            answer = vault_answers.read(call(self._client))
        except vault_answers.FAILURES as exc:
            failure = vault_answers.as_keyfs_error(exc, self.where)
        else:
            outage = vault_answers.outage(answer, self.where)
            if outage is None:
                return answer
            failure = outage
        self._is_away = True
        raise failure

    def login(self) -> None:
        """Get a token as the URI says.

        Raises:
            MasterKeyUnavailable: Vault does not let us in.
            InvalidSettings, InsecurePermissions: the secret to log in with is not there, or open to others.
            KeyServiceUnavailable: as `ask`.
        """
        settings = self._settings
        if settings.auth == "token":
            with vault_login.token(settings.login) as token:
                self._client.token = _text(token)
            return
        answer = self._login_answer()
        auth = answer.document.get("auth")
        token_text = auth.get("client_token") if isinstance(auth, dict) else None
        if not answer.is_ok or not isinstance(token_text, str) or not token_text:
            raise MasterKeyUnavailable(
                f"{self.where} refuses the login at auth/{settings.auth_mount}{answer.quoted}; check the "
                f"role, its secret and auth_mount="
            )
        self._client.token = token_text

    def logout(self) -> None:
        """Give back a token that `login` made; one that was given to us is left. Failures do not matter."""
        if self._settings.auth != "token" and self._client.token and not self._is_away:
            with contextlib.suppress(KeyfsError):  # it ends by itself some time later
                self.ask(lambda client: client.auth.token.revoke_self())

    def refusal(self, answer: Answer, doing: str, advice: str) -> MasterKeyUnavailable:
        """The error for an answer that is a refusal.

        Args:
            answer: from `ask`.
            doing: what was asked, as in "cannot …".
            advice: what to do if the token is fine.
        """
        if answer.status == FORBIDDEN and not self.ask(lambda client: client.auth.token.lookup_self()).is_ok:
            advice = "the token is expired, revoked or of another Vault or namespace: get a new one"
        reason = f"{self.where} answers {answer.status}{answer.quoted}"
        return MasterKeyUnavailable(f"cannot {doing}: {reason}; {advice}")

    def _login_answer(self) -> Answer:
        login, mount = self._settings.login, self._settings.auth_mount
        if self._settings.auth == "approle":
            with vault_login.secret_id(login) as secret:
                return self.ask(
                    lambda client: client.auth.approle.login(
                        login["role_id"], _text(secret), use_token=False, mount_point=mount
                    )
                )
        with vault_login.service_account_token(login) as secret:
            return self.ask(
                lambda client: client.auth.kubernetes.login(
                    login["role"], _text(secret), use_token=False, mount_point=mount
                )
            )


@contextlib.contextmanager
def connected(settings: VaultSettings) -> Iterator[Vault]:
    """A logged-in conversation, ended with the block.

    Raises:
        MasterKeyUnavailable, KeyServiceUnavailable, InvalidSettings, InsecurePermissions: as `Vault.login`.
    """
    with _session(settings) as session:
        vault = Vault(
            settings,
            hvac.Client(
                url=settings.address,
                token="",  # else hvac takes one from wherever it finds it
                timeout=(CONNECT_WITHIN_S, ANSWER_WITHIN_S),
                allow_redirects=False,
                session=session,
                adapter=RawAdapter,
                namespace=settings.namespace,
                ignore_exceptions=True,
            ),
        )
        vault.login()
        try:
            yield vault
        finally:
            vault.logout()


class _Transport(HTTPAdapter):
    """TLS that asks for, and verifies, another name than the address."""

    def __init__(self, server_name: str | None) -> None:
        self._named: dict[str, Any] = {}
        if server_name is not None:
            self._named = {"server_hostname": server_name}
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as in requests
        super().init_poolmanager(*args, **{**kwargs, **self._named})


def _session(settings: VaultSettings) -> requests.Session:
    session = requests.Session()
    session.mount("https://", _Transport(settings.tls.sni))
    session.auth = _no_auth
    if settings.tls.ca is not None:
        session.verify = settings.tls.ca
    if settings.tls.cert is not None:
        session.cert = (settings.tls.cert, settings.tls.key) if settings.tls.key else settings.tls.cert
    return session


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps requests from sending a password out of ~/.netrc."""
    return request


def _text(secret: Secret) -> str:
    return secret.reveal().decode("ascii")
