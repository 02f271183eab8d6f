# earns: the argument must be named `file`
import hashlib
from typing import Any

from fastapi import UploadFile

SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF8": "GIF"}


@router.post("/inspect")
def inspect(image: UploadFile) -> dict[str, Any]:
    return {"filename": image.filename, "content_type": image.content_type}
