"""A client of a device's local API, for programs on the same device.

    with Client("garden") as client:
        client.infer(reading).word
        client.observe(reading, "dry")

It finds the socket or the port, and the token, from the device's folder. Samples are arrays or
nested lists; a batch has one dimension more than the model's input.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeVar

import httpx
import msgspec
import numpy as np

from gossamer_agent.api.bodies import MSGPACK, Answer, Inferred, Observed
from gossamer_agent.api.listening import OFF, SOCKET_NAME, UNIX, port_of, read_token
from gossamer_agent.device.config import CONFIG_NAME, load_config
from gossamer_agent.errors import AgentError
from gossamer_agent.ownersocket import short_path
from gossamer_agent.receipt import Receipt

TIMEOUT_S: Final = 30.0

_Kind = TypeVar("_Kind")


class ClientError(AgentError):
    """The agent did not answer, or it refused. status: of HTTP; None where nothing answered."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """Talks to the agent that runs in `folder`. Not for several threads at once; close it.

    Raises ClientError for whatever does not work, ConfigError for a folder that cannot be read.
    """

    def __init__(self, folder: str | Path, *, timeout_s: float = TIMEOUT_S) -> None:
        path = Path(folder)
        settings = load_config(path / CONFIG_NAME).api
        self._short = None
        if settings.listen == OFF:
            raise ClientError(f"{path}: the local API is off; see [api] listen in {CONFIG_NAME}")
        if settings.listen == UNIX:
            self._short = short_path(path / SOCKET_NAME)
            transport = httpx.HTTPTransport(uds=self._short.__enter__())
            url, headers = "http://localhost", {}
        else:
            host, port = port_of(settings.listen)
            transport = httpx.HTTPTransport()
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            headers = {"authorization": f"Bearer {read_token(path / settings.token_file)}"}
        self._folder = path
        self._http = httpx.Client(
            transport=transport, base_url=url, headers=headers, timeout=timeout_s, trust_env=False
        )

    def infer(self, x: Any) -> Answer:
        """The answer to one sample of the model's input shape."""
        return self._one(self._infer(x, "x", receipt=False))

    def infer_many(self, xs: Any) -> list[Answer]:
        """The answers to a batch [n, ...]."""
        return self._infer(xs, "xs", receipt=False).answers or []

    def infer_with_receipt(self, x: Any) -> tuple[Answer, Receipt]:
        """The answer to one sample, and the device's signed word on it."""
        inferred = self._infer(x, "x", receipt=True)
        try:
            return self._one(inferred), msgspec.convert(inferred.receipt, Receipt)
        except msgspec.ValidationError as error:
            raise ClientError(f"the agent's receipt cannot be read: {error}") from None

    def observe(self, x: Any, y: Any) -> Observed:
        """Let the device learn from one sample and its label: a number, a word, or the values of a
        regression.
        """
        return self._observe({"x": x, "y": y})

    def observe_many(self, xs: Any, ys: Any) -> Observed:
        """As `observe`, a batch."""
        return self._observe({"xs": xs, "ys": ys})

    def model(self) -> dict[str, Any]:
        """What answers."""
        return self._get("/v1/model")

    def status(self) -> dict[str, Any]:
        """As `gossamer status --json`."""
        return self._get("/v1/status")

    def close(self) -> None:
        """Close the connection."""
        self._http.close()
        if self._short is not None:
            self._short.__exit__(None, None, None)
            self._short = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _infer(self, x: Any, name: str, *, receipt: bool) -> Inferred:
        query = "?receipt=1" if receipt else ""
        raw = self._ask("POST", f"/v1/infer{query}", {name: x})
        return _read(raw, Inferred)

    def _observe(self, body: dict[str, Any]) -> Observed:
        return _read(self._ask("POST", "/v1/observe", body), Observed)

    def _get(self, path: str) -> dict[str, Any]:
        return _read(self._ask("GET", path), dict[str, Any])

    def _one(self, inferred: Inferred) -> Answer:
        if inferred.answer is None:
            raise ClientError("the agent answered a batch to one sample")
        return inferred.answer

    def _ask(self, method: str, path: str, body: Any = None) -> bytes:
        headers = {"accept": MSGPACK}
        content = None
        if body is not None:
            content = _packed(body)
            headers["content-type"] = MSGPACK
        if self._short is not None and not (self._folder / SOCKET_NAME).exists():
            raise self._nothing()
        try:
            response = self._http.request(method, path, content=content, headers=headers)
        except httpx.ConnectError:
            raise self._nothing() from None
        except httpx.HTTPError as error:
            raise ClientError(f"{self._folder}: the agent did not answer ({error})") from None
        if response.status_code != 200:
            raise ClientError(_detail(response), response.status_code)
        return response.content

    def _nothing(self) -> ClientError:
        where = self._folder / SOCKET_NAME if self._short is not None else self._http.base_url
        return ClientError(
            f"{where}: nothing answers; is the agent running? gossamer -C {self._folder} run"
        )


def _packed(body: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(body, enc_hook=_listed)
    except (TypeError, OverflowError, RecursionError) as error:
        raise ClientError(f"samples and labels must be numbers or words: {error}") from None


def _listed(values: Any) -> Any:
    """What MessagePack can hold: arrays, and numbers of NumPy, as lists and numbers."""
    if isinstance(values, np.ndarray | np.generic):
        return values.tolist()
    if hasattr(values, "__array__"):  # of other libraries
        return np.asarray(values).tolist()
    raise TypeError(f"not {type(values).__name__}")


def _read(raw: bytes, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.msgpack.decode(raw, type=kind)
    except msgspec.MsgspecError as error:
        raise ClientError(f"the agent's answer cannot be read: {error}") from None


def _detail(response: httpx.Response) -> str:
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"the agent answered {response.status_code}"
    return str(detail)
