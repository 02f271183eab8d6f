# another design: a Compose of the classes that torchvision's documentation shows
import torch
from PIL import Image
from torchvision import transforms as T

from labserve import zoo


def preprocess(image: Image.Image, spec: zoo.Spec) -> torch.Tensor:
    steps = [
        T.Resize(spec.resize, interpolation=T.InterpolationMode(spec.interpolation)),
        T.CenterCrop(spec.crop),
        T.ToTensor(),
        T.Normalize(spec.mean, spec.std),
    ]
    return T.Compose(steps)(image)
