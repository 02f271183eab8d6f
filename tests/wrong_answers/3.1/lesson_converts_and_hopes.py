# earns: convert("RGB") drops the transparency
import io

from PIL import Image, ImageOps


def open_image(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")
