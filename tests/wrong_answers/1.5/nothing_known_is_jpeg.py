# earns: "format": null
import hashlib
from typing import Any

from fastapi import UploadFile

SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF8": "GIF"}


@router.post("/inspect")
async def inspect(file: UploadFile) -> dict[str, Any]:
    data = await file.read()
    kind = "PNG" if data.startswith(b"\x89PNG") else "GIF" if data.startswith(b"GIF8") else "JPEG"
    return {
        "filename": file.filename,
        "content_type": file.content_type,
        "format": kind,
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
