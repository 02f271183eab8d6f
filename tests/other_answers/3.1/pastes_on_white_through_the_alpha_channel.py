# another design: decodes at once, and pastes on an RGB ground through the alpha channel
from io import BytesIO

import PIL.Image
import PIL.ImageOps


def open_image(data: bytes) -> PIL.Image.Image:
    try:
        with PIL.Image.open(BytesIO(data)) as picture:
            picture.load()
            PIL.ImageOps.exif_transpose(picture, in_place=True)
            clear = picture.convert("RGBA")
    except Exception:
        raise ValueError("no picture") from None
    ground = PIL.Image.new("RGB", clear.size, (255, 255, 255))
    ground.paste(clear, mask=clear.getchannel("A"))
    return ground
