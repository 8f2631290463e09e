"""A DIZ's part of the pictures: sums over its test patients of what the network looks at, never one patient's.

A modality is left out at a DIZ, and 0 stands for it, if fewer than ``min-group`` of its test patients have it, or if
the network looks at it in fewer: a network that looks at one of them would give away that one's. Maps of images are
means over boxes of voxels (`saliency.SIDE`). Beside each sum of maps there is that of the images themselves, as the
background to draw on.
"""

import numpy as np

from multimodal_imaging import layout
from multimodal_imaging.errors import InputError
from multimodal_imaging.site import Answer, Arrays, Request, Site
from multimodal_imaging.site_deep import ASKED as DEEP_ASKED
from multimodal_imaging.site_deep import asked, chunks, network, presence, recipe_of, see


def mm_saliency(site: Site, request: Request) -> Arrays:
    """Sums over test patients with an outcome.

    Returns:
        ``counts`` (M,) patients by modality; ``maps`` the modalities' sums of |gradient x input| one after the other,
        flat: features of tables, voxels of images; ``images`` sums of the images likewise, without tables, or one 0;
        ``weights`` (M, M + 1): over those who have modality m, the sums of the fusion's weights, and how many they are.

    Raises:
        InputError: The approved run config does not have pictures made, or they would be of single patients.
    """
    from multimodal_imaging import deep_model, saliency  # noqa: PLC0415 -- torch, only for the network

    if not saliency.allowed(request.settings):
        raise InputError('Pictures need saliency = true and norm = "group" in the approved run config.')
    settings, recipe = request.settings, recipe_of(site, request.settings)
    rows = asked(site, request)
    there = presence(site, settings)[rows]
    enough = there.sum(axis=0) >= settings.min_group
    maps = {of.name: np.zeros(of.shape) for of in recipe.inputs}
    images = {name: np.zeros(shape) for name, shape in layout.shapes(settings).items()}
    weights = np.zeros((len(recipe.inputs), len(recipe.inputs) + 1))
    model = deep_model.load(network(site, request, recipe, settings.rounds), recipe)
    looked = np.zeros(len(recipe.inputs), dtype=np.int64)
    with deep_model.one_thread():
        for part in chunks(rows) if enough.any() else ():
            patients = see(site, request, recipe, rows[part])
            found, weight = saliency.gradient_input(model, patients)
            for column, of in enumerate(recipe.inputs):
                if not enough[column]:
                    continue
                who = there[part, column]
                counts = (found[of.name].reshape(len(who), -1) > 0).any(axis=1) & (weight[:, column] > saliency.WEIGHS)
                looked[column] += (counts & who).sum()
                maps[of.name] += found[of.name][who].sum(axis=0)
                weights[column] += [*weight[who].sum(axis=0), who.sum()]
                if of.image and who.any():
                    images[of.name] += patients.values[of.name].numpy()[who, 0].sum(axis=0, dtype=np.float64)
    enough &= looked >= settings.min_group
    for column, of in enumerate(recipe.inputs):
        if of.image:
            maps[of.name] = saliency.coarse(maps[of.name])
            images[of.name] *= enough[column]
        maps[of.name] *= enough[column]
    weights *= enough[:, None]
    return {
        "counts": np.where(enough, there.sum(axis=0), 0).astype(np.int64),
        "maps": np.concatenate([maps[of.name].ravel() for of in recipe.inputs]),
        "images": np.concatenate([image.ravel() for image in images.values()] or [np.zeros(1)]),
        "weights": weights,
    }


ANSWERS: dict[str, Answer] = {"mm_saliency": mm_saliency}
ASKED: dict[str, tuple[str, ...]] = {"mm_saliency": DEEP_ASKED["mm_deep_scores"]}
