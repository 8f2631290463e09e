"""The app's folder."""

from pathlib import Path

import multimodal_imaging_private

APP = Path(multimodal_imaging_private.__file__).parents[1]
