# earns: resized without antialias
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from labserve import zoo


def preprocess(image: Image.Image, spec: zoo.Spec) -> torch.Tensor:
    mode = InterpolationMode(spec.interpolation)
    pixels = transforms.to_dtype(transforms.pil_to_tensor(image), torch.float32, scale=True)
    pixels = transforms.resize(pixels, [spec.resize], interpolation=mode, antialias=False)
    return transforms.normalize(transforms.center_crop(pixels, [spec.crop]), list(spec.mean), list(spec.std))
