# another design: async, one pass over pieces of 64 KiB, match statement
import hashlib
from typing import Any

from fastapi import UploadFile

SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF8": "GIF"}


@router.post("/inspect")
async def inspect(file: UploadFile):
    digest, size, start = hashlib.sha256(), 0, b""
    while piece := await file.read(65536):
        start = start or piece[:8]
        digest.update(piece)
        size += len(piece)
    match start[:3]:
        case b"\xff\xd8\xff":
            kind = "JPEG"
        case b"\x89PN":
            kind = "PNG"
        case b"GIF":
            kind = "GIF"
        case _:
            kind = None
    return {
        "filename": file.filename,
        "content_type": file.content_type,
        "format": kind,
        "size_bytes": size,
        "sha256": digest.hexdigest(),
    }
