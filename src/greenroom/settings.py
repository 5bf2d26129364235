"""The only reader of the environment (GREENROOM_*). Knows where things live and how much is allowed."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from greenroom.errors import StorageError, WrongUse


class Settings(BaseSettings):
    """Where Greenroom lives and what it accepts. Each field is one GREENROOM_… variable."""

    model_config = SettingsConfigDict(env_prefix="GREENROOM_", frozen=True, extra="ignore")

    home: Path = Field(default_factory=lambda: Path(platformdirs.user_data_dir("greenroom", appauthor=False)))
    """The folder where everything lives."""
    database_url: str = ""
    """SQLAlchemy URL; empty means SQLite in the home folder."""
    files_url: str = ""
    """file:// or s3:// URL of the store; empty means a folder in the home folder."""
    runner: Literal["local"] = "local"
    """Who runs the training child process."""
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    """Where this machine's worker trains and draws; "auto" takes a GPU where there is one."""

    max_picture_bytes: int = Field(default=50_000_000, gt=0)
    """A picture file of this size or more is refused."""
    max_pixels: int = Field(default=64_000_000, gt=0)
    """A picture of more pixels is refused from its header, before decoding."""
    min_side_px: int = Field(default=64, gt=0)
    """A picture whose short side is shorter is refused."""
    min_pictures: int = Field(default=5, gt=0)
    max_pictures: int = Field(default=50, gt=0)
    max_caption_chars: int = Field(default=2_000, gt=0)
    lease_s: int = Field(default=60, gt=0)
    """How long a worker may be silent before its job is given to another."""
    public_url: str = ""
    """The address under which people reach the studio through a proxy, such as https://studio.example.org.
    Where it is set, everybody signs in, also on loopback."""
    hub_url: str = ""
    """Where bases are fetched from; empty means huggingface.co."""
    hub_token: SecretStr = Field(default=SecretStr(""), validation_alias="HF_TOKEN")
    """The hub's token for gated bases. The one setting that is not GREENROOM_…: other tools read it too."""

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.home_folder / 'greenroom.sqlite3'}"

    @property
    def files(self) -> str:
        """The store's URL in force."""
        return self.files_url or (self.home_folder / "files").as_uri()

    @property
    def bases(self) -> Path:
        """Where bases that were fetched from the hub live: bases/<base id>."""
        return self.home_folder / "bases"

    @property
    def runs(self) -> Path:
        """Where run folders live: runs/<training id>."""
        return self.home_folder / "runs"

    @property
    def home_folder(self) -> Path:
        """The home folder, absolute, with ~ expanded."""
        return self.home.expanduser().absolute()

    def make_home(self) -> Path:
        """Create the home folder if needed and return it.

        Raises StorageError when it cannot be created or written.
        """
        home = self.home_folder
        try:
            home.mkdir(parents=True, exist_ok=True)
            why = None if os.access(home, os.W_OK | os.X_OK) else "it is read-only"
        except OSError as error:
            why = error.strerror or str(error)
        if why is not None:
            raise StorageError(
                f"Greenroom's folder {home} cannot be written ({why}). "
                "Unlock it, or set GREENROOM_HOME to a folder that you may write."
            )
        return home


@lru_cache(maxsize=1)
def current() -> Settings:
    """The settings of this process, read once from the environment.

    Raises WrongUse when a variable cannot be read. Tests call current.cache_clear().
    """
    try:
        return Settings()
    except ValidationError as error:
        problem = error.errors()[0]
        name = "GREENROOM_" + "_".join(str(part) for part in problem["loc"]).upper()
        said = problem["msg"].rstrip(".")
        raise WrongUse(f"The setting {name} cannot be used: {said}. Correct or unset it.") from error
