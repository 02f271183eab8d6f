# earns: 'size_bytes'
import hashlib
from typing import Any

from fastapi import UploadFile

SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF8": "GIF"}


@router.post("/inspect")
async def inspect(file: UploadFile) -> dict[str, Any]:
    contents = await file.read()
    return {"filename": file.filename, "content_type": file.content_type, "prediction": "cat"}
