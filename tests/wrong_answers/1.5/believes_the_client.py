# earns: the first bytes are what it sent
import hashlib
from typing import Any

from fastapi import UploadFile

SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF8": "GIF"}


@router.post("/inspect")
async def inspect(file: UploadFile) -> dict[str, Any]:
    data = await file.read()
    kinds = {"image/jpeg": "JPEG", "image/png": "PNG", "image/gif": "GIF"}
    return {
        "filename": file.filename,
        "content_type": file.content_type,
        "format": kinds.get(file.content_type),
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
