"""Every setting of the hub, frozen; ``hub.toml`` at the repository's top shows each with its default and a comment.

Precedence: command-line arguments, environment (``HUB_STORE``, ``HUB_HTTP__PORT``), ``hub.toml``, defaults. An unknown
key is an error at start.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from hub.errors import HubError

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Http(_Section):
    """FHIR API, platform API, DICOMweb and pages."""

    port: int = Field(8080, ge=0, le=65535)
    base_url: str = ""
    max_body_bytes: int = Field(64 * 1024 * 1024, ge=1024)
    max_transaction_entries: int = Field(10_000, ge=1)
    request_seconds: float = Field(60.0, gt=0)


class Destination(_Section):
    """A system that is told of changes over MLLP."""

    address: str = Field(pattern=r"^.+:\d{1,5}$")
    sends: tuple[Literal["adt", "pix", "orders", "results"], ...] = ("adt",)
    application: str = ""
    facility: str = ""
    release: int = Field(1, ge=1, le=2)
    seconds: float = Field(30.0, gt=0)
    tls: bool = False
    tls_ca: str = ""


class Mllp(_Section):
    """HL7 v2 over MLLP."""

    port: int = Field(2575, ge=0, le=65535)
    max_frame_bytes: int = Field(50 * 1024 * 1024, ge=1024)
    idle_seconds: float = Field(600.0, gt=0)
    frame_seconds: float = Field(30.0, gt=0)
    max_connections: int = Field(256, ge=1)
    readers: int = Field(1, ge=0, le=64)
    release: int = Field(1, ge=1, le=2)
    quiet: bool = False
    tls_certificate: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    destinations: dict[str, Destination] = {}


class Dicom(_Section):
    """DIMSE."""

    port: int = Field(11112, ge=0, le=65535)
    ae_title: str = Field("HUB", min_length=1, max_length=16)
    max_pdu_bytes: int = Field(131_072, ge=4096)
    max_associations: int = Field(64, ge=1)
    max_associations_per_peer: int = Field(32, ge=1)
    partners: str = ""
    private_storage: bool = True
    tls_certificate: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    idle_seconds: float = Field(60.0, gt=0)
    study_quiet_seconds: float = Field(2.0, ge=0)
    destinations: dict[str, str] = {}
    availability: list[str] = []
    deletion: bool = False


class Healthcard(_Section):
    """The e-health card."""

    signature: str = Field("es256", pattern="^(es256|sm2)$")
    offline_seconds: int = Field(86_400, ge=0)


class Privacy(_Section):
    """Protection of what is stored."""

    at_rest: bool = True
    algorithms: str = Field("aes", pattern="^(aes|sm)$")


class Search(_Section):
    """Limits of the FHIR search."""

    default_count: int = Field(20, ge=1)
    max_count: int = Field(1000, ge=1)
    max_includes: int = Field(5000, ge=1)
    max_chain_depth: int = Field(5, ge=1)
    page_seconds: int = Field(900, ge=1)


class Subscriptions(_Section):
    """Notifications to subscribers."""

    allowed_hosts: tuple[str, ...] = ()


class Access(_Section):
    """Who may read what."""

    policy: str = ""
    claims: bool = False


class Grace(_Section):
    """For a time findings of a rule weigh less, or more: what was agreed with an institution.

    ``rule`` is an id of ``hub/fhir/validate/rules.csv``, or ``rule:detail`` with an invariant's key or an element's
    name; ``institution`` who is meant ("*": all), as it calls itself in ``$validate``; ``until`` the last day.
    """

    rule: str
    institution: str = "*"
    severity: str = Field("warning", pattern="^(error|warning|information)$")
    until: date


class Retention(_Section):
    """For how many days messages are kept; 0 = for ever."""

    stored_days: int = Field(0, ge=0)
    refused_days: int = Field(0, ge=0)
    outbound_days: int = Field(0, ge=0)
    transport_days: int = Field(90, ge=0)


class Settings(BaseSettings):
    """The frozen whole."""

    model_config = SettingsConfigDict(env_prefix="HUB_", env_nested_delimiter="__", extra="forbid", frozen=True)

    data: Path = Path("data")
    store: str = "sqlite"
    bind: str = "127.0.0.1"
    insecure_bind: bool = False
    region: str = "Xinhe"
    time_zone: str = "Asia/Shanghai"
    language: str = Field("zh", pattern="^(zh|en)$")
    validation: str = Field("base", pattern="^(base|off)$")
    audit_reads: bool = True
    shutdown_seconds: float = Field(5.0, ge=0)
    http: Http = Http()
    mllp: Mllp = Mllp()
    retention: Retention = Retention()
    dicom: Dicom = Dicom()
    healthcard: Healthcard = Healthcard()
    privacy: Privacy = Privacy()
    search: Search = Search()
    subscriptions: Subscriptions = Subscriptions()
    access: Access = Access()
    grace: tuple[Grace, ...] = ()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load(file: Path | None = None, **arguments: Any) -> Settings:
    """Settings from arguments, environment and ``file`` (None: defaults only).

    Raises HubError("configuration") that names the key, the value and what is allowed; also when ``bind`` is not a
    loopback address and ``insecure_bind`` is not set.
    """
    if file is not None and not file.is_file():
        raise HubError("configuration", f"there is no configuration file {file}", str(file))

    class _Loaded(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    try:
        settings = _Loaded(**arguments)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise HubError(
            "configuration", f"setting {where}: {first['msg']} (got {first.get('input')!r})", where
        ) from None
    if settings.bind not in LOOPBACK and not settings.insecure_bind:
        raise HubError(
            "configuration",
            f"bind = {settings.bind!r} is not a loopback address; without authentication and TLS the hub refuses it"
            " unless insecure_bind = true",
            "bind",
        )
    return settings
