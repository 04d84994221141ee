# SPDX-License-Identifier: BSD-3-Clause
"""A fitted estimator on its way to the workers."""

import hashlib
import os
import tempfile
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Self

from sklearn.utils.validation import check_is_fitted

from skastro.utils import read_bytes

_loading = threading.Lock()


class Model(NamedTuple):
    """The bytes of a file of ``save_model``, or of a pickle where there is none."""

    content: bytes
    is_file: bool

    @classmethod
    def of(cls, estimator: Any) -> tuple[Self, Any]:
        """Return the bytes, and the estimator that they stand for."""
        from skastro.persistence import load_model, save_model

        if isinstance(estimator, str | os.PathLike):
            loaded = load_model(estimator, device="cpu")
            return cls(read_bytes(estimator).getvalue(), True), loaded
        check_is_fitted(estimator)
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.skastro"
                save_model(estimator, path)
                load_model(path, device="cpu")
                return cls(path.read_bytes(), True), estimator
        # Whatever keeps it from being a file, a pickle may still hold it.
        except Exception:
            return cls(_pickled(estimator), False), estimator

    @property
    def digest(self) -> str:
        """A name for the content."""
        return hashlib.sha256(self.content).hexdigest()[:16]

    def load(self, device: str | None) -> Any:
        """Return the estimator, which is loaded once in each process."""
        with _loading:
            return _load(self, device)


@lru_cache(maxsize=2)
def _load(model: Model, device: str | None) -> Any:
    if not model.is_file:
        import cloudpickle

        return cloudpickle.loads(model.content)
    # Workers do without PyTorch, which it takes seconds to import, where a pickle does.
    from skastro.persistence import load_model

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.skastro"
        path.write_bytes(model.content)
        return load_model(path, device=device)


def forget_models() -> None:
    """Release the memory of the models that were loaded."""
    _load.cache_clear()


def _pickled(estimator: Any) -> bytes:
    import cloudpickle

    try:
        return cloudpickle.dumps(estimator)
    except Exception as error:
        raise TypeError(
            f"{type(estimator).__name__} cannot be sent to the workers, since neither "
            f"save_model nor pickle can write it: {error}"
        ) from error
