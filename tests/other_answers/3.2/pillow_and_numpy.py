# another design: Pillow and NumPy, no torchvision
import numpy as np
import torch
from PIL import Image

from labserve import zoo


def preprocess(image: Image.Image, spec: zoo.Spec) -> torch.Tensor:
    scale = spec.resize / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    image = image.resize((width, height), filters[spec.interpolation])
    left, top = (width - spec.crop) // 2, (height - spec.crop) // 2
    image = image.crop((left, top, left + spec.crop, top + spec.crop))
    pixels = (np.asarray(image) / 255 - np.array(spec.mean)) / np.array(spec.std)
    return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1).contiguous()
