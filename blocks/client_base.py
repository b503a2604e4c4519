"""What the client's subjects share: whose account it is, paths, pages, waiting, and what may be touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from blocks.connection import Connection
from blocks.errors import Ambiguous, BadAnswer, NotFound, NotOurs, Overdue, Refused
from preference.wire import Account, full_name, is_resource_id, resource_id

PAGE_SIZE = 200  # the API's largest

T = TypeVar("T")


class ClientBase:
    _connection: Connection
    _account: str | None
    _ours: str  # the prefix of the IDs that may be changed and deleted

    @property
    def account(self) -> str:
        """The account's ID, found from the key once if none was given."""
        if self._account is None:
            self._account = self._find_account()
        return self._account

    def _find_account(self) -> str:
        accounts = self.list_accounts()
        if len(accounts) == 1:
            return resource_id(accounts[0].name)
        response = self._connection.request("GET", "/verifyApiKey")
        if account := response.headers.get("x-fireworks-account-id"):
            return resource_id(account)
        names = ", ".join(resource_id(a.name) for a in accounts) or "none"
        raise Ambiguous(f"the key does not say which account it is for (it sees: {names}). Set `account`.")

    def list_accounts(self) -> list[Account]:
        """GET accounts: those that the key can see, with their suspendState."""
        return [Account.parse(a) for a in self._pages("/v1/accounts", "accounts")]

    def get_account(self) -> Account:
        """GET accounts/{account}."""
        return Account.parse(self._connection.send("GET", f"/v1/accounts/{self.account}"))

    def _collection(self, collection: str, account: str | None = None) -> str:
        return f"/v1/accounts/{account or self.account}/{collection}"

    def _path(self, collection: str, name: str, verb: str = "") -> str:
        """The path of a resource, in its own account where it is named in full."""
        parts = self._full(collection, name).split("/")
        if len(parts) != 4 or parts[0] != "accounts" or parts[2] != collection or not all(parts):
            raise Refused(
                f"{name!r} does not name one of {collection}: give an ID, or accounts/<account>/{collection}/<id>."
            )
        return "/v1/" + "/".join(parts) + (f":{verb}" if verb else "")

    def _full(self, collection: str, name: str) -> str:
        return name if "/" in name else full_name(self.account, collection, name)

    def _new_id(self, wanted: str) -> str:
        """`wanted`, if it may be an ID of ours: writes go to the own account only."""
        if not is_resource_id(wanted):
            raise Refused(
                f"{wanted!r} cannot be an ID: the API wants 1 to 63 of a-z 0-9 -, a letter first, no - at the end."
            )
        return wanted

    def _touchable(self, collection: str, name: str) -> None:
        """Refuses what this session did not make."""
        account = self._full(collection, name).split("/")[1]
        if account != self.account or not resource_id(name).startswith(self._ours):
            raise NotOurs(
                f"{name} was not made here (its ID would begin with {self._ours!r}), so it is not changed or "
                "deleted. Do that yourself, if it is meant."
            )

    def _delete(self, collection: str, name: str, **params: str) -> None:
        """DELETE what a session of ours made. Already gone is as good, and what a repeated DELETE finds."""
        self._touchable(collection, name)
        try:
            self._connection.send("DELETE", self._path(collection, name), params=params)
        except NotFound:
            return

    def _pages(self, path: str, key: str, **params: Any) -> Iterator[dict[str, Any]]:
        """All items of a list. The other parameters must stay the same from page to page."""
        token = ""
        while True:
            query = {"pageSize": PAGE_SIZE, **params, **({"pageToken": token} if token else {})}
            page = self._connection.send("GET", path, params=filled(query))
            items = page.get(key)
            if items is not None and not isinstance(items, list):
                raise BadAnswer(f"GET {path}: {key!r} should be a list and is {type(items).__name__}.")
            yield from items or []
            previous, token = token, page.get("nextPageToken") or ""
            if not token:
                return
            if token == previous:
                raise BadAnswer(f"GET {path}: the same page is offered again and again ({token!r}).")

    def _wait(
        self,
        what: str,
        read: Callable[[], T],
        done: Callable[[T], bool],
        *,
        timeout_s: float,
        every_s: float = 3.0,
    ) -> T:
        """What `read` gives once it is `done`. `done` raises where it never will be."""
        deadline = self._connection.clock() + timeout_s
        while True:
            seen = read()
            if done(seen):
                return seen
            if self._connection.clock() >= deadline:
                state = getattr(seen, "state", seen)
                raise Overdue(
                    f"{what} is still {state} after {timeout_s:g} s. It was left as it is; wait longer, or look at it."
                )
            self._connection.sleep(every_s)


def filled(params: dict[str, Any]) -> dict[str, Any]:
    """Without the parameters that are None; booleans as the API writes them."""
    return {k: str(v).lower() if isinstance(v, bool) else v for k, v in params.items() if v is not None}
