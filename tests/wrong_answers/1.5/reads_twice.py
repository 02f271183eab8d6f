# earns: a second read gives nothing
import hashlib
from typing import Any

from fastapi import UploadFile

SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF8": "GIF"}


@router.post("/inspect")
async def inspect(file: UploadFile) -> dict[str, Any]:
    start = await file.read(8)
    data = await file.read()
    return {
        "filename": file.filename,
        "content_type": file.content_type,
        "format": next((name for signature, name in SIGNATURES.items() if start.startswith(signature)), None),
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
