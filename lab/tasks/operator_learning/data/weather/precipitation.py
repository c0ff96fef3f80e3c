"""``data=precipitation``: rain one step ahead from the state now, as FourCastNet's second network learns it.

The target is log(1 + tp / 1e-5), tp in metres (Pathak et al., 2022, section 3.4): most of the globe is dry at a time,
and the logarithm keeps a few storms from deciding everything. It is not normalised further. A network on a frozen wind
network (``model=precipitation_net``) reads the state now and sees its forecast; nothing is fed back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace

from torch import Tensor

from lab.errors import ConfigError
from lab.ranges import Word
from lab.structures.operator_learning import FieldSpec
from lab.tasks.operator_learning.data.samples import FieldSample
from lab.tasks.operator_learning.data.weather.content import find_files
from lab.tasks.operator_learning.data.weather.dataset import WeatherDataset
from lab.tasks.operator_learning.data.weather.era5 import Era5DataModule
from lab.tasks.operator_learning.data.weather.files import FieldFile
from lab.tasks.operator_learning.data.weather.opening import SUFFIXES, open_fields

SCALE = 1e-5
"""Metres: the scale of the logarithm."""
UNIT = "log(1 + m / 1e-5)"


@dataclass(eq=False)
class PrecipitationDataModule(Era5DataModule):
    """Files of ``Era5DataModule`` with a variable of precipitation, which is predicted from the others.

    Args:
        rain: the variable of precipitation, in metres; ``variables`` are those that are read.

    Raises:
        ConfigError: ``variables`` are not named, or ``rain`` is one of them; or there are several steps.
    """

    _: KW_ONLY
    rain: Word = "tp"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.variables or self.rain in self.variables:
            raise ConfigError(
                f"data.variables={self.variables}: name what the network reads, in the order of its wind network, "
                f"without data.rain={self.rain}"
            )
        if self.train_steps != 1 or self.eval_steps != 1:
            raise ConfigError("data.train_steps and data.eval_steps are 1: precipitation is not fed back")

    @property
    def wanted(self) -> Sequence[str]:
        """The channels of the files: those that are read, then precipitation."""
        return [*(self.variables or ()), self.rain]

    def open_files(self) -> list[FieldFile]:
        """Open all files, lazily."""
        return [open_fields(path, self.wanted) for path in find_files(self.folder, self.files, SUFFIXES, "data.files")]

    @property
    def own_spec(self) -> FieldSpec:
        """A steady problem: from the winds now to the logarithm of the rain a step later."""
        whole = super().own_spec
        return replace(
            whole,
            input_shape=(whole.input_shape[0] - 1, *whole.input_shape[1:]),
            given=whole.channels[:-1],
            given_means=whole.means[:-1],
            given_stds=whole.stds[:-1],
            channels=whole.channels[-1:],
            units=(UNIT,),
            means=(0.0,),
            stds=(1.0,),
        )

    def build(self, split: str) -> RainDataset:  # type: ignore[override]
        """Return the samples of a split."""
        return RainDataset(super().build(split))


class RainDataset:
    """Samples of weather whose last channel becomes the target, as a ``KeyedDataset``.

    Args:
        whole: of states with precipitation.
    """

    aspect_ratios = None

    def __init__(self, whole: WeatherDataset) -> None:
        self.whole = whole

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.whole)

    def __getitem__(self, key: tuple[int, int]) -> FieldSample:
        """Return the sample for ``(epoch, index)``."""
        sample = self.whole[key]
        return sample._replace(fields=sample.fields[:-1], targets=log_rain(sample.targets[:, -1:]), climatology=None)

    def fingerprint(self) -> str:
        """Return a hash of that of the whole samples."""
        return hashlib.sha256(f"log rain {SCALE} {self.whole.fingerprint()}".encode()).hexdigest()


def log_rain(metres: Tensor) -> Tensor:
    """Return log(1 + tp / 1e-5) of precipitation in metres; what files have below 0, by packing, counts as 0."""
    return (metres.clamp(min=0) / SCALE).log1p()
