# earns: the EXIF orientation was not applied
import io

from PIL import Image, ImageOps


def open_image(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data)).convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    except Exception as error:
        raise ValueError("not a picture") from error
