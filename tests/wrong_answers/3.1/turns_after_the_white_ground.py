# earns: an RGBA PNG with EXIF orientation
import io

from PIL import Image, ImageOps


def open_image(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:
        raise ValueError("not a picture") from error
