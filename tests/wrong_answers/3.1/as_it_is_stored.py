# earns: mode 'RGB', which is what the network takes
import io

from PIL import Image, ImageOps


def open_image(data: bytes) -> Image.Image:
    try:
        return ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    except Exception as error:
        raise ValueError("not a picture") from error
