# earns: a batch dimension added
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from labserve import zoo


def preprocess(image: Image.Image, spec: zoo.Spec) -> torch.Tensor:
    mode = InterpolationMode(spec.interpolation)
    image = transforms.resize(image, [spec.resize], interpolation=mode)
    image = transforms.center_crop(image, [spec.crop])
    pixels = transforms.to_dtype(transforms.pil_to_tensor(image), torch.float32, scale=True)
    return transforms.normalize(pixels, list(spec.mean), list(spec.std)).unsqueeze(0)
