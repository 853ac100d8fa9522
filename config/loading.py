"""Read the settings from the environment and `.env`, and explain what is wrong with them.

Nothing else in the project reads the environment, except OpenTelemetry's own variables (worker.telemetry.traces). No
setting is read at import.
"""

from typing import Any, TypeVar

from pydantic import ValidationError

from config.autumn_versions import DEFAULT_VERSION, supports_scans
from config.settings import Measures, RedisPlace, Settings

Place = TypeVar("Place", bound=RedisPlace)


class SettingsError(Exception):
    """The environment is invalid; the text names each variable and says what to do."""


def load_settings(**given: Any) -> Settings:
    """Return the settings. `given` values, by the name of the variable, override the environment.

    Raises SettingsError with a line for each variable that is missing or wrong.
    """
    return _load(Settings, **given)


def load_scan_settings(**given: Any) -> Settings:
    """Return the settings for a scan. Raises SettingsError also if the version of Autumn has no cursors."""
    settings = load_settings(**given)
    version = settings.autumn_api_version
    if not supports_scans(version):
        raise SettingsError(
            f"AUTUMN_API_VERSION: {version} has no lists with cursors, which a scan needs: set {DEFAULT_VERSION}"
        )
    return settings


def load_place() -> RedisPlace:
    """Return only the settings of Redis, for commands that call no service. Raises SettingsError."""
    return _load(RedisPlace)


def load_measures() -> Measures:
    """Return only the settings that status needs. Raises SettingsError."""
    return _load(Measures)


def _load(kind: type[Place], **given: Any) -> Place:
    try:
        return kind(**given)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(error))) from None
    except UnicodeDecodeError:
        raise SettingsError(".env: is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise SettingsError(f".env: cannot be read ({error.strerror})") from None


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        name = ".".join(str(part) for part in problem["loc"])
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            text = "is not set; add it to the environment or to .env"
        elif problem["type"] == "too_short":
            text = f"must have at least {problem['ctx']['min_length']} characters"
        lines.append(f"{name}: {text}" if name else text)
    return lines
