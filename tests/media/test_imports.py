import subprocess
import sys
from pathlib import Path

import vostool.media


def test_media_needs_neither_torch_nor_opencv() -> None:
    names = (path.stem for path in Path(vostool.media.__path__[0]).glob("*.py"))
    modules = [name for name in names if name != "__init__"]
    assert "video" in modules
    imports = "".join(f"import vostool.media.{module};" for module in modules)
    check = "import sys; sys.exit(bool({'torch', 'cv2'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", imports + check], check=True)
