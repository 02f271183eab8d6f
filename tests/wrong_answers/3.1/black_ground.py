# earns: a grey PNG with transparency (mode LA)
import io

from PIL import Image, ImageOps


def open_image(data: bytes) -> Image.Image:
    try:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        if image.mode == "RGBA":
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert("RGB")
    except Exception as error:
        raise ValueError("not a picture") from error
